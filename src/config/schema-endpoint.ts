import { text } from './fields.js';

/** The base URL of a service that stands in place of the usual one. */
export const endpoint = () =>
  text().superRefine((value, context) => {
    if (value.includes('${')) return;
    const url = URL.canParse(value) ? new URL(value) : undefined;
    if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:'))
      context.addIssue('expected an http:// or https:// URL');
    else if (url.username !== '' || url.password !== '') context.addIssue('must not hold credentials');
  });
