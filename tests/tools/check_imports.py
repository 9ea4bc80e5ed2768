"""Checks that Envoy can load a module: python3 check_imports.py MODULE.wasm...

Envoy resolves a module's imports when it loads it and refuses the module for a single one that it does not offer; a
dependency that calls into a browser or opens a file is enough. This finds that out at build time, by name.
"""

import sys

# What every Envoy of the suite offers, each as name(parameters)result with i for i32 and I for i64. Newer ones offer a
# few more functions of WASI; those would keep a module from older ones. test_check_imports.py asks the real binaries.
OFFERED = {
    "env": """
        proxy_log(iii)i proxy_get_status(iii)i proxy_set_property(iiii)i proxy_get_property(iiii)i
        proxy_send_local_response(iiiiiiii)i proxy_get_shared_data(iiiii)i proxy_set_shared_data(iiiii)i
        proxy_register_shared_queue(iii)i proxy_resolve_shared_queue(iiiii)i proxy_dequeue_shared_queue(iii)i
        proxy_enqueue_shared_queue(iii)i proxy_get_header_map_value(iiiii)i proxy_add_header_map_value(iiiii)i
        proxy_replace_header_map_value(iiiii)i proxy_remove_header_map_value(iii)i proxy_get_header_map_pairs(iii)i
        proxy_set_header_map_pairs(iii)i proxy_get_header_map_size(ii)i proxy_get_buffer_status(iii)i
        proxy_get_buffer_bytes(iiiii)i proxy_set_buffer_bytes(iiiii)i proxy_http_call(iiiiiiiiii)i
        proxy_grpc_call(iiiiiiiiiiii)i proxy_grpc_stream(iiiiiiiii)i proxy_grpc_close(i)i proxy_grpc_cancel(i)i
        proxy_grpc_send(iiii)i proxy_set_tick_period_milliseconds(i)i proxy_get_current_time_nanoseconds(i)i
        proxy_define_metric(iiii)i proxy_increment_metric(iI)i proxy_record_metric(iI)i proxy_get_metric(ii)i
        proxy_set_effective_context(i)i proxy_done()i proxy_call_foreign_function(iiiiii)i proxy_continue_stream(i)i
        proxy_close_stream(i)i proxy_get_log_level(i)i pthread_equal(ii)i emscripten_notify_memory_growth(i)
    """,
    "wasi_snapshot_preview1": """
        fd_write(iiii)i fd_read(iiii)i fd_seek(iIii)i fd_close(i)i fd_fdstat_get(ii)i fd_fdstat_set_flags(ii)i
        environ_get(ii)i environ_sizes_get(ii)i args_get(ii)i args_sizes_get(ii)i clock_time_get(iIi)i
        random_get(ii)i sched_yield()i poll_oneoff(iiii)i proc_exit(i) path_open(iiiiiIIii)i fd_prestat_get(ii)i
        fd_prestat_dir_name(iii)i
    """,
}
# Offered only to modules that export this marker.
OFFERED_BY_MARKER = {"proxy_get_log_level": "proxy_abi_version_0_2_1"}

# Of each line, Envoy needs one export.
NEEDED = [
    ("proxy_abi_version_0_2_1", "proxy_abi_version_0_2_0"),
    ("malloc", "proxy_on_memory_allocate"),
    ("_initialize", "_start"),
    ("memory",),
]

IMPORT, EXPORT, TYPE = 2, 7, 1
FUNCTION = 0
VALUE_TYPES = {0x7F: "i", 0x7E: "I", 0x7D: "f", 0x7C: "F"}


class Malformed(Exception):
    """The file is not a WebAssembly module."""


class Reader:
    """Reads the parts of the binary format that stand in front of every name."""

    def __init__(self, data):
        self.data = data
        self.position = 0

    def bytes(self, size):
        end = self.position + size
        if end > len(self.data):
            raise Malformed(f"ends inside an item at byte {self.position}")
        piece = self.data[self.position : end]
        self.position = end
        return piece

    def byte(self):
        return self.bytes(1)[0]

    def number(self):
        """An unsigned LEB128 number."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > 63:
                raise Malformed(f"number too long at byte {self.position}")

    def name(self):
        return self.bytes(self.number()).decode("utf-8", "replace")

    def at_end(self):
        return self.position == len(self.data)


def sections(data):
    """The content of each section by its number; custom sections are left out."""
    reader = Reader(data)
    if reader.bytes(4) != b"\0asm" or reader.bytes(4) != b"\1\0\0\0":
        raise Malformed("does not start as a WebAssembly 1.0 module does")
    found = {}
    while not reader.at_end():
        number, content = reader.byte(), Reader(reader.bytes(reader.number()))
        if number:
            found[number] = content
    return found


def function_types(reader):
    """Each function type as (parameters)result."""
    types = []
    for _ in range(reader.number()):
        if reader.byte() != 0x60:
            raise Malformed("has a type that is not a function's")
        parameters, results = ("".join(VALUE_TYPES.get(reader.byte(), "?") for _ in range(reader.number())) for _ in range(2))
        types.append(f"({parameters}){results}")
    return types


def skip_limits(reader):
    bounded = reader.byte() & 1
    reader.number()
    if bounded:
        reader.number()


def imports(reader, types):
    """Each import as (module, name, type); the type is that of a function, or the kind of anything else."""
    found = []
    for _ in range(reader.number()):
        module, name, kind = reader.name(), reader.name(), reader.byte()
        if kind == FUNCTION:
            index = reader.number()
            if index >= len(types):
                raise Malformed(f"gives import {module}.{name} a type that it does not define")
            what = types[index]
        elif kind == 1:
            reader.byte()
            skip_limits(reader)
            what = " (a table)"
        elif kind == 2:
            skip_limits(reader)
            what = " (a memory)"
        elif kind == 3:
            reader.bytes(2)
            what = " (a global)"
        else:
            raise Malformed(f"imports {module}.{name} as an unknown kind {kind}")
        found.append((module, name, what))
    return found


def exports(reader):
    found = set()
    for _ in range(reader.number()):
        found.add(reader.name())
        reader.byte()
        reader.number()
    return found


def offered():
    """{(module, name): type} of everything in OFFERED."""
    return {
        (module, name): "(" + signature
        for module, functions in OFFERED.items()
        for name, signature in (function.split("(") for function in functions.split())
    }


def problems(data):
    """What keeps Envoy from loading the module, a sentence each."""
    found = sections(data)
    none = b"\0"
    types = function_types(found.get(TYPE, Reader(none)))
    exported = exports(found.get(EXPORT, Reader(none)))
    known = offered()
    sentences = []
    for module, name, what in imports(found.get(IMPORT, Reader(none)), types):
        marker = OFFERED_BY_MARKER.get(name) if module == "env" else None
        if (module, name) not in known:
            sentences.append(f"imports {module}.{name}{what}, which Envoy does not offer")
        elif known[module, name] != what:
            sentences.append(f"imports {module}.{name}{what}, which Envoy offers as {name}{known[module, name]}")
        elif marker and marker not in exported:
            sentences.append(f"imports {module}.{name}, which Envoy offers only to a module that exports {marker}")
    for alternatives in NEEDED:
        if not exported.intersection(alternatives):
            sentences.append(f"does not export {' or '.join(alternatives)}, which Envoy needs")
    return sentences


def main(paths):
    if not paths:
        print("usage: check_imports.py MODULE.wasm...", file=sys.stderr)
        return 2
    failed = False
    for path in paths:
        try:
            with open(path, "rb") as file:
                sentences = problems(file.read())
        except (OSError, Malformed) as error:
            sentences = [str(error)]
        for sentence in sentences:
            print(f"error: {path}: {sentence}", file=sys.stderr)
        failed = failed or bool(sentences)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
