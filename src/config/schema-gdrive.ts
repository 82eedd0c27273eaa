import { z } from 'zod';
import { secret, text } from './fields.js';
import { endpoint } from './schema-endpoint.js';

/** What only a Google Drive destination may say. */
export const gdriveFields = {
  type: z.literal('gdrive').describe('Google Drive: a folder of somebody’s drive, or of a shared drive.'),
  credentials: secret(
    `The JSON of an OAuth client (then \`holdfast login\`) or of a service account, usually \${file:/path}.`,
  ),
  folderId: text()
    .optional()
    .describe(
      'The folder’s id, the last part of its address in the browser. Default: a folder Holdfast in the user’s drive, made by Holdfast, or the shared drive itself.',
    ),
  driveId: text().optional().describe('The shared drive’s id, for a folder on one.'),
  scope: z
    .enum(['drive.file', 'drive'])
    .optional()
    .describe(
      'What a login asks for. drive.file: only what Holdfast makes itself. drive: everything, which a folder made by somebody else needs. Default: drive.file; for a service account drive, which is what was shared with it.',
    ),
  trash: z
    .boolean()
    .optional()
    .describe('true: what is deleted goes to the trash, where it takes space for 30 more days. Default: false.'),
  endpoint: endpoint().optional().describe('The API’s base URL, for a gateway or tests. Default: Google’s.'),
};
