import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { fingerprintOf, isFingerprintOf } from '../../src/destinations/fingerprint.js';
import { keyTypeOf, knownHostName, knownKeys } from '../../src/destinations/ssh-known-hosts.js';
import { makeKey } from '../support/sshd.js';

const dir = mkdtempSync(join(tmpdir(), 'holdfast-known-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const keyFile = makeKey(join(dir, 'key'));
const [type = '', base64 = ''] = readFileSync(`${keyFile}.pub`, 'utf8').split(' ');
const key = Buffer.from(base64, 'base64');
const line = (names: string): string => `${names} ${type} ${base64} a comment`;
const found = (text: string, host = 'vault.example.com', port = 22): number =>
  knownKeys(text, 'known_hosts', knownHostName(host, port)).length;

test('reads names, ports, wildcards and exceptions', () => {
  expect(found(line('vault.example.com,10.0.0.1'))).toBe(1);
  expect(found(line('Vault.Example.com'), 'VAULT.example.com')).toBe(1);
  expect(found(line('*.example.com'))).toBe(1);
  expect(found(line('vault?example.com'))).toBe(1);
  expect(found(line('*.example.com,!vault.example.com'))).toBe(0);
  expect(found(line('vault.example.com.evil.org'))).toBe(0);
  expect(found(line('vaultXexample.com'))).toBe(0);
  expect(found(line('[vault.example.com]:2222'), 'vault.example.com', 2222)).toBe(1);
  expect(found(line('vault.example.com'), 'vault.example.com', 2222)).toBe(0);
  expect(found(line('[vault.example.com]:2222'))).toBe(0);
  expect(found(`# comment\n\n${line('other')}\n${line('vault.example.com')}\n`)).toBe(1);
});

test('reads what ssh-keygen hashed', () => {
  const file = join(dir, 'known_hosts');
  writeFileSync(file, `${line('vault.example.com')}\n${line('[vault.example.com]:2222')}\n`);
  execFileSync('ssh-keygen', ['-q', '-H', '-f', file], { stdio: 'pipe' });
  const text = readFileSync(file, 'utf8');
  expect(text).not.toContain('vault');
  expect(found(text)).toBe(1);
  expect(found(text, 'vault.example.com', 2222)).toBe(1);
  expect(found(text, 'other.example.com')).toBe(0);
});

test('says what is revoked, and passes over authorities', () => {
  const [entry] = knownKeys(`@revoked ${line('*')}`, 'f', 'vault.example.com');
  expect(entry).toMatchObject({ revoked: true, type: 'ssh-ed25519', where: 'f:1' });
  expect(entry?.key.equals(key)).toBe(true);
  expect(found(`@cert-authority ${line('*.example.com')}`)).toBe(0);
});

test('writes fingerprints as ssh-keygen does, and takes those of OpenSSL', () => {
  const told = execFileSync('ssh-keygen', ['-lf', `${keyFile}.pub`], { encoding: 'utf8' }).split(' ')[1] ?? '';
  expect(fingerprintOf(key)).toBe(told);
  const hex = Buffer.from(told.slice(7), 'base64').toString('hex');
  const colons = hex.toUpperCase().replace(/..(?!$)/g, '$&:');
  for (const written of [told, `${told}=`, hex, colons, `SHA256:${colons}`])
    expect(isFingerprintOf(written, key)).toBe(true);
  expect(isFingerprintOf(told.replace(/.$/, told.endsWith('A') ? 'B' : 'A'), key)).toBe(false);
  expect(keyTypeOf(key)).toBe('ssh-ed25519');
  expect(keyTypeOf(Buffer.from('no'))).toBe('unknown');
});
