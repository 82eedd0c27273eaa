import { execFileSync } from 'node:child_process';
import { gunzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import type { Entry } from '../../src/repository/entry.js';
import type { Member } from '../../src/repository/export/member.js';
import { writeTar } from '../../src/repository/export/tar-archive.js';

const base = { mode: 0o100644, uid: 1, gid: 2, mtime: '1700000000123456789', ctime: '0', inode: '1' };

function member(name: string | Buffer, entry: Partial<Entry>, text = ''): Member {
  return {
    name,
    entry: { ...base, type: 'file', ...entry },
    size: text.length,
    async *content() {
      yield Buffer.from(text);
    },
  };
}

async function tarOf(members: Member[]): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  const all = async function* (): AsyncGenerator<Member> {
    yield* members;
  };
  const sink = { write: async (bytes: Uint8Array) => void parts.push(bytes) };
  await writeTar(all(), sink, 'gzip', new AbortController().signal);
  return gunzipSync(Buffer.concat(parts));
}

const reader = `
import io, json, sys, tarfile
out = []
for m in tarfile.open(fileobj=io.BytesIO(sys.stdin.buffer.read())):
    xattrs = {k: v.encode('utf8', 'surrogateescape').hex() for k, v in m.pax_headers.items() if k.startswith('SCHILY')}
    out.append([m.name.encode('utf8', 'surrogateescape').hex(), m.type.decode(), m.mtime, m.uid, m.uname, m.devmajor, m.devminor, xattrs])
print(json.dumps(out))
`;

test('what a ustar header cannot hold is read back by Python', async () => {
  const raw = Buffer.from('6e6f7420ff20757466', 'hex');
  const user = 'a-user-whose-name-has-more-than-32-bytes';
  const tar = await tarOf([
    member(raw, {
      uid: 4_000_000_000,
      user,
      xattrs: [['user.bytes', Buffer.from([0, 10, 61, 255]).toString('base64')]],
    }),
    member('before-1970', { mtime: '-1500000000' }, 'x'.repeat(512)),
    member('pipe', { type: 'fifo' }),
    member('disk', { type: 'block', rdev: String((259 << 8) | 3) }),
  ]);
  expect(JSON.parse(execFileSync('python3', ['-c', reader], { input: tar, encoding: 'utf8' }))).toEqual([
    [
      raw.toString('hex'),
      '0',
      1700000000.1234567,
      4_000_000_000,
      user,
      0,
      0,
      { 'SCHILY.xattr.user.bytes': '000a3dff' },
    ],
    [Buffer.from('before-1970').toString('hex'), '0', -1.5, 1, '', 0, 0, {}],
    [Buffer.from('pipe').toString('hex'), '6', 1700000000.1234567, 1, '', 0, 0, {}],
    [Buffer.from('disk').toString('hex'), '4', 1700000000.1234567, 1, '', 259, 3, {}],
  ]);
  const listed = execFileSync('tar', ['-tvf', '-', '--quoting-style=escape'], { input: tar, encoding: 'utf8' });
  expect(listed.trim().split('\n')).toHaveLength(4);
  expect(listed).toContain('not \\377 utf');
});

test.each([
  [99, 'a'],
  [100, 'a'],
  [101, 'a'],
  [980, 'ü/'],
])('a name of %i times %j', async (count, part) => {
  const name = part.repeat(count).replace(/\/$/, '');
  const listed = execFileSync('tar', ['-tf', '-', '--quoting-style=literal'], {
    input: await tarOf([member(name, {}, 'text')]),
    encoding: 'utf8',
  });
  expect(listed).toBe(`${name}\n`);
});
