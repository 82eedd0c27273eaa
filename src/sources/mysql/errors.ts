import { errnoOf, HoldfastError } from '../../errors.js';
import type { ToolResult } from '../exec/run-tool.js';
import { toolFailure } from '../exec/tool-failure.js';

const accessDenied = new Set([1044, 1045, 1142, 1143, 1227, 1370, 1396, 1410, 1698, 1820, 1862, 3118, 4151]);
const unknownDatabase = 1049;

/** What an error number of the server means for us; undefined: nothing particular. */
function known(number: number | undefined, message: string): HoldfastError | undefined {
  if (number !== undefined && accessDenied.has(number)) {
    return new HoldfastError('AuthDenied', message, {
      hint: 'Check user, password and the user’s rights; docs/databases.md lists those that a backup needs.',
    });
  }
  if (number === unknownDatabase) return new HoldfastError('SourceMissing', message);
  return undefined;
}

/** The server's own number of what went wrong, as the driver or its client tell it. */
export function serverNumber(error: unknown): number | undefined {
  if (!(error instanceof HoldfastError)) return undefined;
  const { cause, message } = error;
  if (cause instanceof Error && 'errno' in cause && typeof cause.errno === 'number') return cause.errno;
  return Number(/\bERROR (\d{4})\b/.exec(message)?.[1] ?? 0) || undefined;
}

/** An error of the driver, said of the server at `where`. */
export function asServerError(error: unknown, where: string): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const text = error instanceof Error ? error.message : String(error);
  const message = `${where}: ${text === '' ? (errnoOf(error) ?? 'no connection') : text}`;
  const number =
    error instanceof Error && 'errno' in error && typeof error.errno === 'number' ? error.errno : undefined;
  if (/certificate|self.signed|SSL|TLS|altname/i.test(`${errnoOf(error)} ${text}`)) {
    return new HoldfastError('AuthDenied', message, {
      hint: 'TLS failed: see `tls` (caFile, mode) of the source, and whether the server speaks TLS.',
      cause: error,
    });
  }
  return known(number, message) ?? new HoldfastError('SourceFailed', message, { cause: error });
}

/** How a program of the server's ended, when not with 0. `code` is for what nobody foresaw. */
export function asToolError(
  what: string,
  tool: string,
  result: ToolResult,
  code: 'SourceFailed' | 'RestoreFailed',
): HoldfastError {
  // `Got error: 1044: ...`, `ERROR 1045 (28000) at line 1: ...`, `Couldn't execute '...': ... (1044)`
  const number = /\berror:? (\d{4})\b/i.exec(result.stderr)?.[1] ?? /\((\d{4})\)$/m.exec(result.stderr)?.[1];
  const failure = toolFailure(code, what, tool, result);
  if (failure.code === 'ToolMissing') return failure;
  if (/errno:? 28\b|No space left/i.test(result.stderr) && code === 'SourceFailed') {
    return new HoldfastError('SpoolFull', failure.message, {
      hint: 'Free some space, or set spool.path to a larger disk; the run goes on by itself.',
    });
  }
  return known(number === undefined ? undefined : Number(number), failure.message) ?? failure;
}
