import { z } from 'zod';
import { secret, text } from './fields.js';

export const encryptionSchema = z
  .strictObject({
    passphrase: secret(
      `The passphrase that protects every repository’s key. Usually a reference: \${file:/path}, \${env:NAME}, \${command:pass show x}, \${credential:x}. With \`privateKey\`: the passphrase of that key, if it is encrypted.`,
    ).optional(),
    publicKey: text()
      .optional()
      .describe(
        `An RSA public key (PEM, 3072 bits or more) in place of a passphrase, as \${file:/path}: new repositories are written for it, and this host can’t read what it wrote. \`holdfast key generate\` makes a pair.`,
      ),
    privateKey: secret(
      `The RSA private key (PEM) that reads such repositories, as \${file:/path}. Better kept elsewhere and given with \`--identity FILE\` when it is needed.`,
    ).optional(),
  })
  .superRefine(({ passphrase, publicKey, privateKey }, context) => {
    if (passphrase === undefined && publicKey === undefined && privateKey === undefined)
      context.addIssue('expected `passphrase`, or `publicKey`');
  })
  .describe(
    'Encryption on this machine before anything is uploaded. Left out: repositories in the clear, with a warning.',
  );
