"""check_imports.py: what it refuses, and that its list is what the real binaries offer."""

import importlib.util
import pathlib
import subprocess

import pytest

HERE = pathlib.Path(__file__).parent
spec = importlib.util.spec_from_file_location("check_imports", HERE / "check_imports.py")
check_imports = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check_imports)

EXPORTS = ("proxy_abi_version_0_2_1", "proxy_on_memory_allocate", "_initialize")


def number(value):
    """Unsigned LEB128."""
    digits = []
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])


def name(text):
    return number(len(text)) + text.encode()


def section(kind, items):
    content = number(len(items)) + b"".join(items)
    return bytes([kind]) + number(len(content)) + content


def function_type(signature):
    """"(iI)i" as a function type."""
    codes = {"i": b"\x7f", "I": b"\x7e"}
    return b"\x60" + b"".join(
        number(len(side)) + b"".join(codes[letter] for letter in side) for side in signature[1:].split(")")
    )


def module(imports=(), exports=EXPORTS, memory=True):
    """A module that imports (module, name, signature) and exports one function, (i)i, under each name."""
    signatures = ["(i)i", "()", *(signature for _, _, signature in imports)]
    own = len(imports)
    # The second function is for exports that take nothing.
    index = {export: own if "allocate" in export or export == "malloc" else own + 1 for export in exports}
    exported = [name(export) + b"\0" + number(index[export]) for export in exports]
    if memory:
        exported.append(name("memory") + b"\2\0")
    return b"".join(
        [
            b"\0asm\1\0\0\0",
            section(1, [function_type(signature) for signature in signatures]),
            section(2, [name(m) + name(n) + b"\0" + number(2 + i) for i, (m, n, _) in enumerate(imports)]),
            section(3, [b"\0", b"\1"]),
            section(5, [b"\0\1"]),
            section(7, exported),
            section(10, [b"\4\0\x41\0\x0b", b"\2\0\x0b"]),
        ]
    )


def test_a_module_that_imports_what_envoy_offers_passes():
    assert check_imports.problems(module([("env", "proxy_log", "(iii)i"), ("env", "proxy_get_log_level", "(i)i")])) == []


def test_each_import_that_envoy_does_not_offer_is_named():
    sentences = check_imports.problems(
        module([("__wbindgen_placeholder__", "__wbindgen_throw", "(ii)"), ("wasi_snapshot_preview1", "fd_readdir", "(iiiIi)i")])
    )
    assert sentences == [
        "imports __wbindgen_placeholder__.__wbindgen_throw(ii), which Envoy does not offer",
        "imports wasi_snapshot_preview1.fd_readdir(iiiIi)i, which Envoy does not offer",
    ]


def test_an_import_with_another_type_is_refused():
    sentences = check_imports.problems(module([("env", "proxy_log", "(ii)i")]))
    assert sentences == ["imports env.proxy_log(ii)i, which Envoy offers as proxy_log(iii)i"]


def test_an_imported_memory_is_refused():
    data = module().replace(section(2, []), section(2, [name("env") + name("memory") + b"\2\0\1"]))
    assert check_imports.problems(data) == ["imports env.memory (a memory), which Envoy does not offer"]


def test_get_log_level_needs_the_newer_marker():
    data = module([("env", "proxy_get_log_level", "(i)i")], ("proxy_abi_version_0_2_0", "malloc", "_start"))
    assert check_imports.problems(data) == [
        "imports env.proxy_get_log_level, which Envoy offers only to a module that exports proxy_abi_version_0_2_1"
    ]


@pytest.mark.parametrize(
    ("export", "sentence"),
    [
        (EXPORTS[0], "does not export proxy_abi_version_0_2_1 or proxy_abi_version_0_2_0, which Envoy needs"),
        (EXPORTS[1], "does not export malloc or proxy_on_memory_allocate, which Envoy needs"),
        (EXPORTS[2], "does not export _initialize or _start, which Envoy needs"),
    ],
)
def test_each_export_that_envoy_needs_is_asked_for(export, sentence):
    assert check_imports.problems(module(exports=[other for other in EXPORTS if other != export])) == [sentence]


def test_the_memory_has_to_be_exported():
    assert check_imports.problems(module(memory=False)) == ["does not export memory, which Envoy needs"]


@pytest.mark.parametrize("cut", range(1, 120, 7))
def test_a_file_that_is_cut_off_is_reported_and_not_a_crash(tmp_path, capsys, cut):
    path = tmp_path / "cut.wasm"
    path.write_bytes(module([("env", "proxy_log", "(iii)i")])[:cut])
    assert check_imports.main([str(path)]) == 1
    assert str(path) in capsys.readouterr().err


def test_what_is_no_module_is_reported(tmp_path, capsys):
    path = tmp_path / "text.wasm"
    path.write_text("not a module")
    assert check_imports.main([str(path)]) == 1
    assert "does not start as a WebAssembly 1.0 module does" in capsys.readouterr().err


CONFIGURATION = """
static_resources:
  listeners:
  - address: {{pipe: {{path: "{folder}/listener"}}}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          route_config: {{name: none}}
          http_filters:
          - name: wasm
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config: {{vm_config: {{runtime: envoy.wasm.runtime.v8, code: {{local: {{filename: "{folder}/module.wasm"}}}}}}}}
          - name: router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
"""


def load(envoy, folder, data):
    """What Envoy says when it loads the module: (accepted, output)."""
    (folder / "module.wasm").write_bytes(data)
    (folder / "envoy.yaml").write_text(CONFIGURATION.format(folder=folder))
    command = [envoy, "--mode", "validate", "--config-path", folder / "envoy.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(params=["newest", "old"])
def envoy(request):
    """The path of a binary; without one the test fails."""
    return subprocess.check_output([HERE / "envoy.sh", request.param], text=True).strip()


def test_envoy_offers_everything_on_the_list(envoy, tmp_path):
    imports = [(module_, name_, signature) for (module_, name_), signature in check_imports.offered().items()]
    accepted, output = load(envoy, tmp_path, module(imports))
    assert accepted, output


def test_envoy_refuses_an_import_that_is_not_on_the_list(envoy, tmp_path):
    accepted, output = load(envoy, tmp_path, module([("env", "proxy_clear_route_cache", "()i")]))
    assert not accepted
    assert "missing import: env.proxy_clear_route_cache" in output


def test_envoy_refuses_a_module_without_an_allocator(envoy, tmp_path):
    accepted, output = load(envoy, tmp_path, module(exports=("proxy_abi_version_0_2_1", "_initialize")))
    assert not accepted
    assert "missing malloc" in output
