import path from 'node:path';

const wordPattern = /(?:"(?:\\.|[^"\\])*"|'[^']*'|\\.|[^\s"'\\])+/gs;
const piecePattern = /"((?:\\.|[^"\\])*)"|'([^']*)'|\\(.)/gs;

/**
 * `docker exec -i "my db"` as words: blanks separate, quotes and backslashes as in a shell, nothing is expanded.
 * Undefined where a quote has no end.
 */
export function splitWords(text: string): string[] | undefined {
  if (text.replace(wordPattern, '').trim() !== '') return undefined;
  return [...text.matchAll(wordPattern)].map(([word]) =>
    word.replace(
      piecePattern,
      (_all, double: string | undefined, single: string | undefined, plain: string | undefined) =>
        double?.replace(/\\([\\"$`])/g, '$1') ?? single ?? plain ?? '',
    ),
  );
}

/** `argv` to be run through a prefix. `ssh` hands its words to a shell, so that they are quoted for it. */
export function withPrefix(prefix: readonly string[], argv: readonly string[]): string[] {
  if (prefix.length === 0) return [...argv];
  const viaShell = path.basename(prefix[0] ?? '').replace(/\.exe$/, '') === 'ssh';
  return viaShell ? [...prefix, argv.map(shellQuote).join(' ')] : [...prefix, ...argv];
}

function shellQuote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** A command line that reads a secret from the first bytes of its stdin, and the text to put there. */
export interface SecretByStdin {
  argv: string[];
  /** Goes first into stdin; what follows it is the tool's own input. */
  text: string;
}

/** `dd` reads exactly as many bytes as it is told, and one by one leaves the rest to the tool. */
const readSecret = 'dd bs=1 count="$n" 2>/dev/null';

/**
 * For tools behind a prefix, where no file of ours can be seen: the secret arrives by stdin and the tool reads it from
 * {@link secretDescriptor}, so that it is neither in an argument, an environment nor a file.
 */
export function secretAsDescriptor(argv: readonly string[], secret: string): SecretByStdin {
  const script = `n=$1; shift; exec 3<&0; ${readSecret} <&3 | "$@" 4<&0 0<&3 3<&-`;
  return { argv: ['sh', '-c', script, 'sh', String(Buffer.byteLength(secret)), ...argv], text: secret };
}

/** The path under which {@link secretAsDescriptor} offers the secret. */
export const secretDescriptor = '/dev/fd/4';

/**
 * The same for tools that take only a regular file, named by the environment variable `variable` (`PGPASSFILE`): a private
 * temporary file where the tool runs, removed when it ends.
 */
export function secretAsFile(argv: readonly string[], variable: string, secret: string): SecretByStdin {
  const script =
    `n=$1 v=$2; shift 2; umask 077; f=$(mktemp) || exit 126; trap 'rm -f "$f"' EXIT; trap 'exit 143' HUP INT TERM; ` +
    `${readSecret} >"$f"; export "$v=$f"; "$@"`;
  return { argv: ['sh', '-c', script, 'sh', String(Buffer.byteLength(secret)), variable, ...argv], text: secret };
}
