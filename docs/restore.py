"""Restores a Holdfast repository of format 1, written from docs/format.md alone: restore.py REPOSITORY TARGET [SECRET [PASSPHRASE]]
SECRET: a file with the passphrase, a recovery sheet or an RSA private key (PEM); PASSPHRASE: a file with that key's own, if it has one."""
import base64, gzip, hashlib, json, os, re, stat, subprocess, sys

import aws_encryption_sdk as sdk
from aws_encryption_sdk.identifiers import CommitmentPolicy, EncryptionKeyType, WrappingAlgorithm
from aws_encryption_sdk.internal.crypto.wrapping_keys import WrappingKey
from aws_encryption_sdk.key_providers.raw import RawMasterKey
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def read_file(name):
    with open(name, 'rb') as file:
        return file.read()


class Repository:
    def __init__(self, folder, secret=None, passphrase=None):
        self.folder, self.tars, self.places, self.key = folder, {}, {}, None
        self.info = json.loads(read_file(os.path.join(folder, 'holdfast.json')))
        assert self.info['format'] == 1 and self.info['objects'] in ('aes', 'rsa', 'none')
        if self.info['objects'] == 'aes':
            key = self.sheet(secret.decode().upper()) or self.unlock(secret)
            self.key = WrappingKey(WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING, key, EncryptionKeyType.SYMMETRIC)
        elif self.info['objects'] == 'rsa':
            self.key = WrappingKey(WrappingAlgorithm.RSA_OAEP_SHA512_MGF1, secret, EncryptionKeyType.PRIVATE, passphrase)

    def sheet(self, text):  # the key, if these are the four lines of a recovery sheet
        lines = re.findall(r'^\s*(?:[1-4][.:)]\s+)?((?:[0-9A-Z]{4}[- ]?){3}[0-9A-Z]{4})\s*$', text, re.M)
        crockford = str.maketrans('ABCDEFGHJKMNPQRSTVWXYZOIL', 'abcdefghijklmnopqrstuv011', '- ')
        numbers = [int(line.translate(crockford), 32) for line in lines]
        parts = [(number >> 15).to_bytes(8, 'big') for number in numbers]
        for at, (number, part) in enumerate(zip(numbers, parts), 1):
            check = hashlib.sha256(f"holdfast-1 {self.info['repository']} {at} ".encode() + part).digest()
            assert number & 0x7fff == int.from_bytes(check[:2], 'big') >> 1, f'line {at} of the sheet is not right'
        return b''.join(parts) if len(parts) == 4 else None

    def unlock(self, passphrase):
        for slot in self.info['slots']:
            n, r, p = slot['N'], slot['r'], slot['p']
            assert 128 * n * r <= 1 << 30 and p <= 16
            key = hashlib.scrypt(passphrase, salt=base64.b64decode(slot['salt']), n=n, r=r, p=p, maxmem=(2 << 30) - 2, dklen=32)
            aad = f"holdfast-1 {self.info['repository']} {slot['id']}".encode()
            try:
                return AESGCM(key).decrypt(base64.b64decode(slot['nonce']), base64.b64decode(slot['wrapped']), aad)
            except InvalidTag:
                pass
        raise SystemExit('the passphrase opens no key slot')

    def decrypt(self, stored, kind, name):
        master = RawMasterKey(key_id=self.info['repository'], provider_id='holdfast', wrapping_key=self.key)
        client = sdk.EncryptionSDKClient(commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT, max_encrypted_data_keys=1)
        plain, header = client.decrypt(source=stored, key_provider=master)
        expected = {'format': 'holdfast-1', 'repository': self.info['repository'], 'kind': kind} | ({} if kind == 'pack' else {'path': name})
        assert header.encryption_context == expected, f'{name} was written as another object'
        return plain

    def read(self, kind, name):
        stored = read_file(os.path.join(self.folder, name))
        assert kind != 'pack' or hashlib.sha256(stored).hexdigest() == os.path.basename(name), f'{name} is damaged'
        data = self.decrypt(stored, kind, name) if self.key else stored
        if data[:4] == b'\x28\xb5\x2f\xfd':
            return subprocess.run(['zstd', '-dcq'], input=data, stdout=subprocess.PIPE, check=True).stdout
        return gzip.decompress(data) if data[:2] == b'\x1f\x8b' else data

    def latest(self):  # the newest root; from here on chunks resolve in its indexes only
        names = [f'snapshots/{name}' for name in os.listdir(os.path.join(self.folder, 'snapshots')) if name[0] != '.']
        root = max((json.loads(self.read('snapshot', name)) for name in names), key=lambda root: root['seq'])
        assert root['format'] == 1 and root['repository'] == self.info['repository']
        for name in (name for name in os.listdir(os.path.join(self.folder, 'index')) if name[0] != '.'):
            packs = [json.loads(line) for line in self.read('index', f'index/{name}').splitlines()]
            if {name.split('.')[0], *packs[0].get('supersedes', [])} & set(root['indexes']):
                for pack in (pack for pack in packs if os.path.exists(f"{self.folder}/packs/{pack['pack'][:2]}/{pack['pack']}")):
                    self.places |= {chunk: (pack['pack'], offset, length) for chunk, offset, length in pack['chunks']}
        return root

    def chunk(self, name):
        pack, offset, length = self.places[name]
        self.tars = self.tars if pack in self.tars else {pack: self.read('pack', f'packs/{pack[:2]}/{pack}')}
        content = self.tars[pack][offset:offset + length]
        assert hashlib.sha256(content).hexdigest() == name, f'chunk {name} is damaged'
        return content

    def manifest(self, source):
        for part in source['manifest']:
            yield from self.chunk(part['chunk']).removesuffix(b'\n').split(b'\n')


def raw(entry, key):  # the bytes that stand in `key` or, as base64, in `key`64
    return base64.b64decode(entry[key + '64']) if key + '64' in entry else entry[key].encode() if key in entry else None


def place(target, path):
    parts = (path[1:] if path[:1] == b'/' else path.replace(b':', b'', 1)).split(b'/')
    assert not any(part in (b'', b'.', b'..') or b'\0' in part for part in parts), f'{path} is not safe'
    return os.path.join(target, *parts)


def write_content(repository, entry, name):
    holes = [(int(offset), int(length)) for offset, length in entry.get('holes', [])]
    at = 0
    with open(name, 'xb') as file:
        for chunk in [*entry['chunks'], None]:
            while holes and holes[0][0] == at:
                at += holes.pop(0)[1]
            file.seek(at)
            at += file.write(repository.chunk(chunk)) if chunk else 0
        assert at == int(entry['size']) and not holes, f'{name} has a wrong size'
        file.truncate(at)


def set_metadata(entry, name):
    if os.geteuid() == 0:
        os.chown(name, entry['uid'], entry['gid'], follow_symlinks=False)
    for attribute, value, *encoding in entry.get('xattrs', []):
        os.setxattr(name, base64.b64decode(attribute) if encoding else attribute, base64.b64decode(value))
    if entry['type'] != 'symlink':
        os.chmod(name, entry['mode'])
    os.utime(name, ns=(int(entry['mtime']), int(entry['mtime'])), follow_symlinks=False)


def restore(repository, target):
    directories = []
    for entry in (json.loads(line) for source in repository.latest()['sources'] for line in repository.manifest(source)):
        name, kind = place(target, raw(entry, 'path')), entry['type']
        if kind == 'socket' or os.path.lexists(name):
            continue
        os.makedirs(os.path.dirname(name), exist_ok=True)
        if kind == 'dir':
            os.mkdir(name)
            directories.insert(0, (entry, name))
            continue
        if raw(entry, 'hardlink') is not None:
            os.link(place(target, raw(entry, 'hardlink')), name)
        elif kind == 'file':
            write_content(repository, entry, name)
        elif kind == 'symlink':
            os.symlink(raw(entry, 'target'), name)
        else:
            bits = {'fifo': stat.S_IFIFO, 'char': stat.S_IFCHR, 'block': stat.S_IFBLK}[kind]
            os.mknod(name, bits | 0o600, int(entry.get('rdev', 0)))
        set_metadata(entry, name)
    for entry, name in directories:
        set_metadata(entry, name)


if __name__ == '__main__':
    restore(Repository(sys.argv[1], *(read_file(name).rstrip(b'\r\n') for name in sys.argv[3:])), os.fsencode(sys.argv[2]))
