"""Cuts files and manifests by the rules of docs/format.md and compares with what a repository holds: recut.py REPOSITORY ROOT-DIR [PASSPHRASE-FILE]

Prints a JSON object: the cuts of the test data, and how many manifest chunks and large files agree.
"""
import hashlib
import json
import os
import sys

from restore import Repository, raw

GEAR = [int.from_bytes(hashlib.sha256(f'holdfast gear {i}'.encode()).digest()[:4], 'little') for i in range(256)]
MIN, AVERAGE, MAX = 1 << 18, 1 << 20, 1 << 22


def first_chunk(data):
    """The length of the first chunk of `data`."""
    if len(data) <= MIN:
        return len(data)
    h, gear = 0, GEAR
    for at in range(MIN - 32, min(len(data), MAX)):
        h = (2 * h + gear[data[at]]) & 0xffffffff
        if at >= MIN and not h & (0xfffffc00 if at < AVERAGE else 0xffffc000):
            return at + 1
    return min(len(data), MAX)


def cut(data):
    while data:
        length = first_chunk(data)
        yield data[:length]
        data = data[length:]


def line_hash(line):
    units = memoryview(line.decode().encode('utf-16-le')).cast('H')
    head = min(len(units), 192)
    h = 0x811c9dc5
    for unit in [*units[:head], *units[max(head, len(units) - 64):]]:
        h = (h ^ unit) * 0x01000193 & 0xffffffff
    return h ^ h >> 15


def cut_manifest(lines):
    chunk = b''
    for line in lines:
        if chunk and len(chunk) + len(line) + 1 > 32768:
            yield chunk
            chunk = b''
        chunk += line + b'\n'
        if len(chunk) >= 32768 or len(chunk) >= 4096 and line_hash(line) % 12 == 0:
            yield chunk
            chunk = b''
    if chunk:
        yield chunk


def sha256(data):
    return hashlib.sha256(data).hexdigest()


repository = Repository(sys.argv[1], open(sys.argv[3], 'rb').read().rstrip(b'\r\n') if len(sys.argv) > 3 else None)
test_data = b''.join(hashlib.sha256(str(i).encode()).digest() for i in range(262144))
result = {'cuts': [len(chunk) for chunk in cut(test_data)], 'manifestChunks': 0, 'largeFiles': 0, 'differ': []}
for source in repository.latest()['sources']:
    lines = list(repository.manifest(source))
    if [sha256(chunk) for chunk in cut_manifest(lines)] != [part['chunk'] for part in source['manifest']]:
        result['differ'].append(source['name'])
    result['manifestChunks'] += len(source['manifest'])
    for entry in map(json.loads, lines):
        if entry['type'] != 'file' or int(entry['size']) < MIN or 'holes' in entry:
            continue
        with open(os.fsencode(sys.argv[2]) + raw(entry, 'path'), 'rb') as file:
            if [sha256(chunk) for chunk in cut(file.read())] != entry['chunks']:
                result['differ'].append(entry.get('path'))
        result['largeFiles'] += 1
print(json.dumps(result))
