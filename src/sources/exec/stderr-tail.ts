import { secretRegistry } from '../../config/secrets.js';

const atMost = 8192;

/** The last lines a tool said, for messages: whole lines only, so that no half of a secret escapes redaction. */
export class StderrTail {
  private text = '';
  private cut = false;

  add(chunk: Buffer): void {
    this.text += chunk.toString('utf8');
    if (this.text.length <= 2 * atMost) return;
    this.text = this.text.slice(-atMost);
    this.cut = true;
  }

  /** Redacted; empty when the tool said nothing. */
  get lines(): string {
    const whole = this.cut ? this.text.slice(this.text.indexOf('\n') + 1) : this.text;
    return secretRegistry.redact(whole).trim();
  }
}
