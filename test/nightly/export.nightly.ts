import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { fileTarget } from '../../src/activities/archive-sink.js';
import type { Entry } from '../../src/repository/entry.js';
import type { Member } from '../../src/repository/export/member.js';
import { writeZip } from '../../src/repository/export/zip-archive.js';

const size = 2 ** 32 + 12_345;

async function* members(): AsyncGenerator<Member> {
  const entry: Entry = {
    type: 'file',
    mode: 0o600,
    uid: 0,
    gid: 0,
    mtime: '1700000000000000000',
    ctime: '0',
    inode: '1',
  };
  const zeros = Buffer.alloc(1 << 20);
  const content = async function* (): AsyncGenerator<Buffer> {
    for (let left = size; left > 0; left -= zeros.length) yield zeros.subarray(0, Math.min(left, zeros.length));
  };
  yield { name: 'large', entry, size, content };
  yield { name: 'after', entry, size: 0, content: async function* () {} };
}

test('a file beyond 4 GiB in a zip file', { timeout: 600_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-zip64-'));
  try {
    const file = join(folder, 'large.zip');
    const target = await fileTarget(file, false);
    await writeZip(members(), { sink: target, scratch: folder, signal: new AbortController().signal });
    await target.publish();
    const listed = execFileSync(
      'python3',
      [
        '-c',
        'import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); print(z.testzip(), [i.file_size for i in z.infolist()])',
        file,
      ],
      { encoding: 'utf8' },
    );
    expect(listed.trim()).toBe(`None [${size}, 0]`);
    execFileSync('unzip', ['-tq', file]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
