import type { TaskQueue } from 'piscina';
import { ArrayTaskQueue, Piscina } from 'piscina';

type Task = Parameters<TaskQueue['push']>[0];

/** Put into a task's input: it goes before all tasks without. */
export const soon = { [Piscina.queueOptionsSymbol]: { soon: true } };

/** Tasks in the order they came, those marked `soon` before the others: what ends a batch makes room for the next. */
export class SoonFirst implements TaskQueue {
  private readonly first = new ArrayTaskQueue();
  private readonly others = new ArrayTaskQueue();

  get size(): number {
    return this.first.size + this.others.size;
  }

  shift(): Task | null {
    return this.first.shift() ?? this.others.shift();
  }

  push(task: Task): void {
    this.queueOf(task).push(task);
  }

  unshift(task: Task): void {
    this.queueOf(task).unshift(task);
  }

  remove(task: Task): void {
    this.queueOf(task).remove(task);
  }

  private queueOf(task: Task): ArrayTaskQueue {
    return Reflect.get(task, Piscina.queueOptionsSymbol) === null ? this.others : this.first;
  }
}
