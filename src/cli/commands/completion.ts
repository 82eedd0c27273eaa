import type { Command } from 'commander';
import { HoldfastError } from '../../errors.js';
import { commands } from '../commands.js';
import type { Context } from '../context.js';

const shells = ['bash', 'zsh', 'fish'] as const;

interface Words {
  name: string;
  summary: string;
  subcommands: { name: string; summary: string }[];
  options: string[];
}

export function register(command: Command, context: Context): void {
  command
    .argument('<shell>', `one of ${shells.join(', ')}`)
    .addHelpText(
      'after',
      '\nbash: holdfast completion bash > ~/.local/share/bash-completion/completions/holdfast\nzsh:  holdfast completion zsh > ~/.zfunc/_holdfast\nfish: holdfast completion fish > ~/.config/fish/completions/holdfast.fish',
    )
    .action(async (shell: string) => {
      const words = await allWords(command, context);
      const scripts: Record<string, (words: Words[]) => string> = { bash, zsh, fish };
      const script = Object.hasOwn(scripts, shell) ? scripts[shell]?.(words) : undefined;
      if (script === undefined) {
        throw new HoldfastError('UsageInvalid', `no completion for the shell '${shell}'`, {
          hint: `There is one for ${shells.join(', ')}.`,
        });
      }
      context.result({ shell, script }, () => script);
    });
}

async function allWords(self: Command, context: Context): Promise<Words[]> {
  const words: Words[] = [];
  for (const { name, summary, load } of commands) {
    const command = self.createCommand(name);
    (await load()).register(command, context);
    const options = [command, ...command.commands].flatMap((each) => each.options.map((option) => option.long ?? ''));
    words.push({
      name,
      summary,
      subcommands: command.commands.map((child) => ({ name: child.name(), summary: child.description() })),
      options: [...new Set(options)].filter((option) => option !== ''),
    });
  }
  return words;
}

const globals = ['--config', '--json', '--quiet', '--verbose', '--help'];

function bash(words: Words[]): string {
  const cases = words.map(({ name, subcommands, options }) => {
    const list = [...subcommands.map((sub) => sub.name), ...options, ...globals].join(' ');
    return `    ${name}) words='${list}' ;;`;
  });
  return `# bash completion for holdfast
_holdfast() {
  local current="\${COMP_WORDS[COMP_CWORD]}" command='' word words
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$word" in -*) ;; *) command="$word"; break ;; esac
  done
  case "$command" in
${cases.join('\n')}
    *) words='${[...words.map((word) => word.name), ...globals].join(' ')}' ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _holdfast holdfast
`;
}

function zsh(words: Words[]): string {
  const quote = (text: string) => text.replace(/'/g, "'\\''").replace(/:/g, '\\:');
  const cases = words.map(({ name, subcommands, options }) => {
    const subs = subcommands.map((sub) => `'${sub.name}:${quote(sub.summary)}'`).join(' ');
    const describe = subs === '' ? '' : `local -a subs=(${subs}); _describe subcommand subs; `;
    return `    ${name}) ${describe}compadd -- ${[...options, ...globals].join(' ')}; _files ;;`;
  });
  return `#compdef holdfast
_holdfast() {
  local -a commands=(
${words.map(({ name, summary }) => `    '${name}:${quote(summary)}'`).join('\n')}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  case "$words[2]" in
${cases.join('\n')}
  esac
}
_holdfast "$@"
`;
}

function fish(words: Words[]): string {
  const quote = (text: string) => `'${text.replace(/\\/g, '\\\\').replace(/'/g, "\\'")}'`;
  const lines = ['# fish completion for holdfast'];
  for (const { name, summary, subcommands, options } of words) {
    lines.push(`complete -c holdfast -n __fish_use_subcommand -f -a ${name} -d ${quote(summary)}`);
    const seen = `-n '__fish_seen_subcommand_from ${name}'`;
    for (const sub of subcommands)
      lines.push(`complete -c holdfast ${seen} -f -a ${sub.name} -d ${quote(sub.summary)}`);
    for (const option of options) lines.push(`complete -c holdfast ${seen} -l ${option.slice(2)}`);
  }
  for (const option of globals) lines.push(`complete -c holdfast -l ${option.slice(2)}`);
  return `${lines.join('\n')}\n`;
}
