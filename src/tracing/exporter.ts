import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace-base';
import { secretRegistry } from '../config/redact.js';
import type { TracesConfig } from '../config/schema.js';
import { resolveSecrets } from '../config/secrets.js';
import { cut } from '../notifiers/text.js';

type Report = Parameters<SpanExporter['export']>[1];

export interface ExportLog {
  info(message: string): void;
  warn(message: string): void;
}

const timeoutMs = 3000;
const failed: Parameters<Report>[0]['code'] = 1;

/** Sends spans as OTLP over HTTP. A collector that is down costs one warning, and the spans of that time. */
export class Exporter implements SpanExporter {
  private readonly inner: OTLPTraceExporter;
  private failing = false;
  private sending = 0;

  constructor(
    private readonly config: TracesConfig,
    private readonly log: ExportLog,
  ) {
    this.inner = new OTLPTraceExporter({
      url: config.endpoint,
      // At each use, so that a token that was renewed is found.
      headers: async () => (await resolveSecrets(config, 'traces', { timeoutMs })).headers ?? {},
      timeoutMillis: timeoutMs,
      concurrencyLimit: 4,
    });
  }

  export(spans: ReadableSpan[], report: Report): void {
    this.sending++;
    this.inner.export(spans, (result) => {
      this.sending--;
      if (result.code === failed) this.warn(result.error?.message ?? 'no answer');
      else if (this.failing) {
        this.failing = false;
        this.log.info(`traces are sent to ${this.config.endpoint} again`);
      }
      report(result);
    });
  }

  /** Says so where something is still on its way that nobody waits for any longer. */
  abandon(): void {
    if (this.sending > 0) this.warn('no answer');
  }

  private warn(reason: string): void {
    if (this.failing) return;
    this.failing = true;
    const why = secretRegistry.redact(cut(reason, 200));
    this.log.warn(`traces cannot be sent to ${this.config.endpoint} (${why}); backups go on without`);
  }

  forceFlush(): Promise<void> {
    return this.inner.forceFlush();
  }

  shutdown(): Promise<void> {
    return this.inner.shutdown();
  }
}
