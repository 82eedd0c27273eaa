import path from 'node:path';
import { type ErrorCode, HoldfastError } from '../../errors.js';
import type { ToolResult } from './run-tool.js';

/** What a tool that did not end with 0 means: what it said last, or how it ended. */
export function toolFailure(code: ErrorCode, what: string, tool: string, result: ToolResult): HoldfastError {
  const name = path.basename(tool);
  const how = result.signal === null ? `ended with exit code ${result.exitCode}` : `was ended by ${result.signal}`;
  const said = result.stderr === '' ? '' : `: ${result.stderr}`;
  if (result.exitCode === 126 || result.exitCode === 127) {
    return new HoldfastError('ToolMissing', `${what}: ${name} could not be started${said}`, {
      hint: `Install ${name} where the command runs it.`,
    });
  }
  return new HoldfastError(code, `${what}: ${name} ${how}${said}`);
}
