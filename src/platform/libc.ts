import { createRequire } from 'node:module';
import { getSystemErrorMap, getSystemErrorName } from 'node:util';
import type koffi from 'koffi';

/** What C functions take here: numbers, strings (sent as UTF-8), bytes, null pointers. */
export type NativeValue = number | bigint | string | Uint8Array | BigInt64Array | null;
export type NativeFunction = (...values: NativeValue[]) => number | bigint;

export type NativeName =
  | 'utimensat'
  | 'futimens'
  | 'listXattrs'
  | 'listXattrsFd'
  | 'getXattr'
  | 'getXattrFd'
  | 'setXattr'
  | 'setXattrFd'
  | 'mknod'
  | 'mkfifo'
  | 'lseek'
  | 'mallopt';

const common = {
  utimensat: 'int utimensat(int dirfd, const char *path, const void *times, int flags)',
  futimens: 'int futimens(int fd, const void *times)',
  mkfifo: 'int mkfifo(const char *path, uint32_t mode)',
  lseek: 'int64_t lseek(int fd, int64_t offset, int whence)',
  mallopt: 'int mallopt(int param, int value)',
};

const signatures: Record<'linux' | 'darwin', Record<NativeName, string>> = {
  linux: {
    ...common,
    listXattrs: 'int64_t llistxattr(const char *path, void *list, size_t size)',
    listXattrsFd: 'int64_t flistxattr(int fd, void *list, size_t size)',
    getXattr: 'int64_t lgetxattr(const char *path, const char *name, void *value, size_t size)',
    getXattrFd: 'int64_t fgetxattr(int fd, const char *name, void *value, size_t size)',
    setXattr: 'int lsetxattr(const char *path, const char *name, const void *value, size_t size, int flags)',
    setXattrFd: 'int fsetxattr(int fd, const char *name, const void *value, size_t size, int flags)',
    mknod: 'int mknod(const char *path, uint32_t mode, uint64_t dev)',
  },
  darwin: {
    ...common,
    listXattrs: 'int64_t listxattr(const char *path, void *list, size_t size, int options)',
    listXattrsFd: 'int64_t flistxattr(int fd, void *list, size_t size, int options)',
    getXattr:
      'int64_t getxattr(const char *path, const char *name, void *value, size_t size, uint32_t position, int options)',
    getXattrFd: 'int64_t fgetxattr(int fd, const char *name, void *value, size_t size, uint32_t position, int options)',
    setXattr:
      'int setxattr(const char *path, const char *name, const void *value, size_t size, uint32_t position, int options)',
    setXattrFd:
      'int fsetxattr(int fd, const char *name, const void *value, size_t size, uint32_t position, int options)',
    mknod: 'int mknod(const char *path, uint32_t mode, int32_t dev)',
  },
};

const EINVAL = 22;

interface Library {
  func(definition: string): NativeFunction;
  errno(): number;
}

const pointers64 = new Set(['x64', 'arm64', 'ppc64', 'riscv64', 's390x', 'loong64']);

let library: Library | undefined;
let missing: string | undefined;
const functions = new Map<NativeName, NativeFunction | undefined>();

function load(): Library | undefined {
  if (library !== undefined || missing !== undefined) return library;
  if (process.platform !== 'linux' && process.platform !== 'darwin') {
    missing = `not available on ${process.platform}`;
  } else if (!pointers64.has(process.arch)) {
    missing = `not available on ${process.arch}`;
  } else {
    try {
      const loaded: typeof koffi = createRequire(import.meta.url)('koffi');
      const handle = loaded.load(null);
      library = { func: (definition) => handle.func(definition), errno: () => loaded.errno() };
    } catch (error) {
      missing = `koffi does not load: ${error instanceof Error ? error.message : String(error)}`;
    }
  }
  return library;
}

/** A C function, or undefined where it can't be had; see {@link whyMissing}. Loads koffi at the first call. */
export function native(name: NativeName): NativeFunction | undefined {
  if (functions.has(name)) return functions.get(name);
  let found: NativeFunction | undefined;
  const lib = load();
  if (lib !== undefined) {
    try {
      found = lib.func(signatures[process.platform === 'darwin' ? 'darwin' : 'linux'][name]);
    } catch {
      found = undefined;
    }
  }
  functions.set(name, found);
  return found;
}

/** Why a C function is missing, or undefined when it isn't. */
export function whyMissing(name: NativeName): string | undefined {
  if (native(name) !== undefined) return undefined;
  return missing ?? `the C library has no function for ${name}`;
}

/** The C errno; only valid right after a failed call. */
export function lastErrno(): number {
  return library?.errno() ?? 0;
}

/** A path as C takes it. Throws on NUL, which C would take for the end. */
export function cString(value: string | Buffer): string | Buffer {
  if (value.includes('\0')) throw errnoError(EINVAL, 'path', value);
  return typeof value === 'string' ? value : Buffer.concat([value, Buffer.of(0)]);
}

/** An error shaped like those of node:fs (code, errno, syscall, path). */
export function errnoError(
  errno: number,
  syscall: string,
  path: string | Buffer | number,
  code: string = getSystemErrorName(-errno),
): NodeJS.ErrnoException {
  const shown = typeof path === 'number' ? `fd ${path}` : `'${path.toString()}'`;
  const meaning = getSystemErrorMap().get(-errno)?.[1] ?? 'not supported on this system';
  const error: NodeJS.ErrnoException = new Error(`${code}: ${meaning}, ${syscall} ${shown}`);
  error.code = code;
  error.errno = -errno;
  error.syscall = syscall;
  if (typeof path !== 'number') error.path = path.toString();
  return error;
}
