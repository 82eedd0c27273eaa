import type { DrillAssert } from '../config/schema.js';
import { secretRegistry } from '../config/secrets.js';
import type { Ask } from '../sources/database.js';
import { runTool } from '../sources/exec/run-tool.js';
import { StderrTail } from '../sources/exec/stderr-tail.js';
import type { DrillAssertResult } from '../workflows/drill-types.js';

export type SqlAssert = Extract<DrillAssert, { sql: string }>;
export type CommandAssert = Extract<DrillAssert, { command: string }>;

const outputAtMost = 2000;

/** Asks a restored database; what differs, and what could not be asked, is in the answer. */
export async function askSql(
  assert: SqlAssert,
  { source, name }: { source: string; name: string },
  ask: Ask,
  signal: AbortSignal,
): Promise<DrillAssertResult> {
  const expected = String(assert.expect);
  const about = { kind: 'sql', assert: assert.sql, source, database: name, expected } as const;
  const timeout = AbortSignal.timeout(assert.timeout);
  try {
    const found = await ask(assert.sql, timeout);
    const cut = found === null ? null : secretRegistry.redact(found).slice(0, outputAtMost);
    return { ...about, status: found === expected ? 'passed' : 'failed', found: cut };
  } catch (error) {
    signal.throwIfAborted();
    const said = error instanceof Error ? error.message : String(error);
    const output = timeout.aborted ? `no answer within ${assert.timeout / 1000} s` : said;
    return { ...about, status: 'failed', output: secretRegistry.redact(output).slice(0, outputAtMost) };
  }
}

/** Runs a command in the folder with the restored files. Nothing of its process group is left afterwards. */
export async function runAssert(
  assert: CommandAssert,
  folder: string,
  processes: string,
  signal: AbortSignal,
): Promise<DrillAssertResult> {
  const about = { kind: 'command', assert: assert.command } as const;
  const timeout = AbortSignal.timeout(assert.timeout);
  const printed = new StderrTail();
  const argv =
    process.platform === 'win32'
      ? ['cmd.exe', '/d', '/s', '/c', `${assert.command} 2>&1`]
      : ['/bin/sh', '-c', `exec 2>&1\n${assert.command}`];
  try {
    const { exitCode } = await runTool({
      argv,
      env: { HOLDFAST_DRILL_DIR: folder },
      cwd: folder,
      processes,
      signal: AbortSignal.any([signal, timeout]),
      onOutput: (chunk) => printed.add(chunk),
    });
    const output = printed.lines.slice(-outputAtMost);
    return { ...about, status: exitCode === 0 ? 'passed' : 'failed', exitCode, output };
  } catch (error) {
    signal.throwIfAborted();
    if (!timeout.aborted) throw error;
    const output = `${printed.lines}\n(did not end within ${assert.timeout / 1000} s)`.trim().slice(-outputAtMost);
    return { ...about, status: 'failed', exitCode: null, output };
  }
}
