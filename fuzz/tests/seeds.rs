//! Every file in `seeds/` through its target: what fuzzing found, and what it begins with.

use std::collections::BTreeSet;
use std::fs::{read, read_dir, read_to_string};
use std::path::Path;

use mtls_authz_fuzz::TARGETS;

fn folder(name: &str) -> BTreeSet<String> {
    let entries =
        read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap_or_else(|why| panic!("{name}: {why}"));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_target_is_built_and_has_seeds() {
    let named: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let manifest = read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let (_, bins) = manifest.split_once("[[bin]]").unwrap();
    let names = bins.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    assert_eq!(names.map(str::to_owned).collect::<BTreeSet<_>>(), named, "Cargo.toml");
    let files: BTreeSet<String> = named.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(folder("fuzz_targets"), files);
    for name in &named {
        let target = read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz_targets/{name}.rs")));
        assert!(target.unwrap().contains(&format!("mtls_authz_fuzz::{name}(data)")), "{name}");
    }
    assert_eq!(folder("seeds"), named);
}

#[test]
fn what_holds_of_any_bytes_holds_of_the_seeds() {
    for (name, target) in TARGETS {
        let files = folder(&format!("seeds/{name}"));
        assert!(!files.is_empty(), "{name} has no seeds");
        for file in files {
            println!("{name}/{file}");
            target(&read(Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name).join(file)).unwrap());
        }
    }
}
