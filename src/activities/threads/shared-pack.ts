import { PackBuilder } from '../../repository/pack-writer.js';

let shared: { generation: string; builder: PackBuilder } | undefined;

/** This thread's one pack buffer, empty; tasks of a thread follow one another. */
export function sharedPack(generation: string): PackBuilder {
  if (shared?.generation !== generation)
    shared = { generation, builder: new PackBuilder(generation, shared?.builder.memory) };
  shared.builder.reset();
  return shared.builder;
}
