"""Decrypts a tar archive of a job with `format: archive`: open_archive.py REPOSITORY ARCHIVE TARGET [SECRET [PASSPHRASE]]
REPOSITORY: the job's folder with holdfast.json; TARGET gets the plain .tar.gz or .tar.zst; SECRET, PASSPHRASE: as for restore.py."""
import os, sys

import aws_encryption_sdk as sdk
from aws_encryption_sdk.identifiers import CommitmentPolicy
from aws_encryption_sdk.key_providers.raw import RawMasterKey
from restore import Repository, read_file

folder, archive, target = sys.argv[1:4]
repository = Repository(folder, *(read_file(name).rstrip(b'\r\n') for name in sys.argv[4:]))
master = RawMasterKey(key_id=repository.info['repository'], provider_id='holdfast', wrapping_key=repository.key)
client = sdk.EncryptionSDKClient(commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT, max_encrypted_data_keys=1)
with open(archive, 'rb') as stored, open(f'{target}.tmp', 'wb') as plain:
    with client.stream(mode='decrypt', source=stored, key_provider=master) as message:
        expected = {'format': 'holdfast-1', 'repository': repository.info['repository'], 'kind': 'pack'}
        assert message.header.encryption_context == expected, f'{archive} was written as another object'
        for piece in message:
            plain.write(piece)
os.rename(f'{target}.tmp', target)  # only what was whole gets its name
