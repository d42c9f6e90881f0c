//! What bundles promise: whole sets go over, and a hostile file leaves no trace.
#![cfg(unix)]
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

mod common;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use catalog::Catalog;
use common::sha256;
use tar::{Builder, EntryType, Header};
use weights::LeftoverKind::{Packed, Unfinished, Unlisted};
use weights::{BundleError, FetchError, Options, Silent, Store};

const MODEL: &[u8] = b"one two";
const TOKENIZER: &[u8] = b"[]";
/// What the catalogue says of a set's size; a bundle may go over it by an eighth and 1 MiB.
const DISK_BYTES: u64 = 1000;
const SLACK_BYTES: u64 = 125 + 1024 * 1024;

/// Two sets of two files each.
fn catalog() -> Catalog {
    let set = |name: &str, disk_bytes: u64| {
        format!(
            r#"
[weights.{name}]
architecture = "none"
licence = "MIT"
disk_bytes = {disk_bytes}
memory_bytes = 1000
packages = [{{ requirement = "a==1", file = "a-1-py3-none-any.whl", bytes = 1, sha256 = "{zeros}" }}]
files = [
  {{ path = "model.bin", sha256 = "{model}", members = [[0, "model.bin"]] }},
  {{ path = "sub/tokenizer.json", sha256 = "{tokenizer}", members = [[0, "tokenizer.json"]] }},
]
"#,
            zeros = "0".repeat(64),
            model = sha256(MODEL),
            tokenizer = sha256(TOKENIZER),
        )
    };
    let text = set("first", DISK_BYTES) + &set("second", DISK_BYTES);
    Catalog::parse(&text, "test").unwrap()
}

/// A folder with a store in `store/`.
struct Ground {
    home: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
        }
    }

    /// With the named sets in the store, as a person copies them there.
    fn with(sets: &[&str]) -> Self {
        let ground = Self::new();
        for set in sets {
            let folder = ground.root().join(set);
            fs::create_dir_all(folder.join("sub")).unwrap();
            fs::write(folder.join("model.bin"), MODEL).unwrap();
            fs::write(folder.join("sub/tokenizer.json"), TOKENIZER).unwrap();
            let catalog = catalog();
            let set = catalog.weights(set).unwrap();
            ground.store().fetch(set, &Silent).unwrap();
        }
        ground
    }

    fn root(&self) -> PathBuf {
        self.home.path().join("store")
    }

    fn store(&self) -> Store {
        let options = Options {
            offline: true,
            ..Options::default()
        };
        Store::open(self.root(), options)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Every file under the ground, apart from locks and `bundle.tar`.
    fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.home.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                if entry.file_type().unwrap().is_dir() {
                    folders.push(path);
                } else if !path.ends_with("lock") && !path.ends_with("bundle.tar") {
                    let inside = path.strip_prefix(self.home.path()).unwrap();
                    found.push(inside.display().to_string());
                }
            }
        }
        found.sort();
        found
    }
}

fn names(ground: &Ground, path: &Path) -> Vec<(String, bool)> {
    let sets = ground.store().import(path, &catalog(), &Silent).unwrap();
    sets.into_iter().map(|set| (set.set, set.is_new)).collect()
}

#[test]
fn sets_go_from_one_store_to_another_and_are_not_taken_twice() {
    let (catalog, from, to) = (
        catalog(),
        Ground::with(&["first", "second"]),
        Ground::with(&["second"]),
    );
    let (first, second) = (
        catalog.weights("first").unwrap(),
        catalog.weights("second").unwrap(),
    );
    let path = from.file("bundle.tar");
    // A set that is named twice is packed once.
    let sets = [first, second, first];
    let bytes = from.store().export(&path, &sets, &Silent).unwrap();
    assert_eq!(bytes, fs::metadata(&path).unwrap().len());
    assert_eq!(
        names(&to, &path),
        [("first".to_owned(), true), ("second".to_owned(), false)]
    );
    let files = to.store().verify(first).unwrap();
    assert_eq!(fs::read(files.get("model.bin").unwrap()).unwrap(), MODEL);
    assert!(to.store().is_complete(first));
    assert_eq!(
        names(&to, &path),
        [("first".to_owned(), false), ("second".to_owned(), false)]
    );
    assert_eq!(to.store().leftovers(&catalog).unwrap(), []);

    let again = from.file("again.tar");
    from.store()
        .export(&again, &[first, second], &Silent)
        .unwrap();
    assert!(fs::read(&path).unwrap() == fs::read(&again).unwrap());
}

#[test]
fn only_whole_sets_are_bundled_and_no_file_is_overwritten() {
    let (catalog, ground) = (catalog(), Ground::with(&["first"]));
    let first = catalog.weights("first").unwrap();
    let path = ground.file("bundle.tar");
    fs::write(&path, "mine").unwrap();
    let error = ground.store().export(&path, &[first], &Silent).unwrap_err();
    assert!(matches!(error, BundleError::Exists { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"mine");

    fs::write(ground.root().join("first/model.bin"), b"one tow").unwrap();
    let path = ground.file("damaged.tar");
    let error = ground.store().export(&path, &[first], &Silent).unwrap_err();
    let damaged = matches!(&error, BundleError::Store(FetchError::Damaged { .. }));
    assert!(damaged && !path.exists(), "{error}");
}

/// One member of a hostile bundle.
struct Member {
    name: Vec<u8>,
    kind: EntryType,
    link: Vec<u8>,
    bytes: Vec<u8>,
    /// The size in the header, where it lies.
    size: Option<u64>,
}

fn member(name: &str, bytes: &[u8]) -> Member {
    Member {
        name: name.as_bytes().to_vec(),
        kind: EntryType::Regular,
        link: Vec::new(),
        bytes: bytes.to_vec(),
        size: None,
    }
}

fn special(name: &str, kind: EntryType, link: &str) -> Member {
    Member {
        kind,
        link: link.as_bytes().to_vec(),
        ..member(name, b"")
    }
}

fn whole(set: &str) -> Vec<Member> {
    vec![
        member(&format!("{set}/model.bin"), MODEL),
        member(&format!("{set}/sub/tokenizer.json"), TOKENIZER),
    ]
}

/// Writes headers byte by byte: the tar crate itself refuses to write most of these names.
fn tar_of(members: &[Member]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for member in members {
        let mut header = Header::new_ustar();
        header.set_entry_type(member.kind);
        header.set_size(member.size.unwrap_or(member.bytes.len() as u64));
        header.set_mode(0o6777);
        let fields = header.as_ustar_mut().unwrap();
        fields.name[..member.name.len()].copy_from_slice(&member.name);
        fields.linkname[..member.link.len()].copy_from_slice(&member.link);
        header.set_cksum();
        builder.append(&header, member.bytes.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// What it is, its bytes, and what the refusal has to say.
type Case = (String, Vec<u8>, &'static str);

/// A bundle that would be good without `extra` behind its other members.
fn behind(extra: Member) -> Vec<u8> {
    let mut members = whole("first");
    members.push(extra);
    tar_of(&members)
}

/// A bundle that would be good without `extra` before its other members.
fn before(extra: Member) -> Vec<u8> {
    let mut members = vec![extra];
    members.extend(whole("first"));
    tar_of(&members)
}

fn wrong_names() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for name in [
        "../escape",
        "/etc/escape",
        "first/../../escape",
        "first/../first/model.bin",
        "first/./model.bin",
        "./first/model.bin",
        "first//model.bin",
        "/first/model.bin",
        "first/model.bin/",
        "first\\model.bin",
        "..\\escape",
        "C:\\escape",
        "first/other.bin",
        "first/.complete.json",
        ".fetch/first/lock",
        "third/model.bin",
        "FIRST/model.bin",
        "first/model.bin\u{202e}",
        "first",
        "first/\x1b[2Jmodel.bin",
        "",
    ] {
        for bytes in [behind(member(name, b"x")), before(member(name, b"x"))] {
            cases.push((name.to_owned(), bytes, "is no file of a set"));
        }
    }
    let mut not_text = member("first/", b"x");
    not_text.name.extend([0xff, 0xfe]);
    cases.push((
        "not UTF-8".to_owned(),
        behind(not_text),
        "is no file of a set",
    ));
    let mut many = whole("first");
    many.extend((0..10_000).map(|n| member(&format!("first/{n}"), b"")));
    cases.push((
        "10 000 members".to_owned(),
        tar_of(&many),
        "is no file of a set",
    ));
    cases
}

fn wrong_kinds() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (kind, target, told) in [
        (EntryType::Symlink, "/etc/passwd", "is a link"),
        (EntryType::Symlink, "../../..", "is a link"),
        (EntryType::Link, "/etc/passwd", "is a link"),
        (EntryType::Directory, "", "is not a plain file"),
        (EntryType::Fifo, "", "is not a plain file"),
        (EntryType::Char, "", "is not a plain file"),
        (EntryType::Block, "", "is not a plain file"),
        (EntryType::Continuous, "", "is not a plain file"),
        (EntryType::GNUSparse, "", "is not a plain file"),
        (EntryType::GNULongName, "", "is not a plain file"),
        (EntryType::GNULongLink, "", "is not a plain file"),
        (EntryType::XHeader, "", "is not a plain file"),
        (EntryType::XGlobalHeader, "", "is not a plain file"),
    ] {
        for name in ["first/model.bin", "first", "../escape"] {
            let alone = tar_of(&[special(name, kind, target)]);
            for bytes in [alone, before(special(name, kind, target))] {
                cases.push((format!("{kind:?} {name}"), bytes, told));
            }
        }
    }
    cases
}

fn wrong_sizes_and_no_tar() -> Vec<Case> {
    let case = |what: &str, bytes, told| (what.to_owned(), bytes, told);
    let large = vec![0; (DISK_BYTES + SLACK_BYTES + 1) as usize];
    let mut flipped = tar_of(&whole("first"));
    flipped[0] ^= 1;
    let mut cases = vec![
        case(
            "twice",
            behind(member("first/model.bin", MODEL)),
            "occurs twice",
        ),
        case(
            "lacking",
            tar_of(&whole("first")[..1]),
            "lacks sub/tokenizer.json",
        ),
        case(
            "large",
            tar_of(&[
                member("first/model.bin", &large),
                member("first/sub/tokenizer.json", b""),
            ]),
            "outgrows",
        ),
        case("a header's sum", flipped, "is no bundle"),
        case("nothing", Vec::new(), "it is empty"),
        case("zeros", vec![0; 4096], "it is empty"),
        case("a page", b"<html>log in</html>".repeat(100), "is no bundle"),
    ];
    for size in [4096, 1 << 40, u64::MAX / 2, u64::MAX - 511, u64::MAX] {
        let mut members = whole("first");
        members[1].size = Some(size);
        cases.push((format!("size {size}"), tar_of(&members), ""));
    }
    let good = tar_of(&whole("first"));
    for length in [1, 100, 511, 512, 513, 1024, 1535] {
        cases.push((format!("cut at {length}"), good[..length].to_vec(), ""));
    }
    cases
}

#[test]
fn a_hostile_bundle_is_refused_before_anything_is_written() {
    let cases = [wrong_names(), wrong_kinds(), wrong_sizes_and_no_tar()].concat();
    assert!(cases.len() >= 60);
    for (what, bytes, told) in cases {
        let ground = Ground::new();
        let path = ground.file("bundle.tar");
        fs::write(&path, bytes).unwrap();
        let error = match ground.store().import(&path, &catalog(), &Silent) {
            Err(error) => error.to_string(),
            Ok(sets) => panic!("{what:?} was taken: {sets:?}"),
        };
        assert!(error.contains(told), "{what:?}: {error}");
        assert!(!error.contains(char::is_control), "{what:?}: {error:?}");
        assert!(!ground.root().exists(), "{what:?} touched the store");
        assert_eq!(ground.files(), [""; 0], "{what:?}");
    }
}

#[test]
fn wrong_bytes_never_get_a_name_and_no_set_of_that_bundle_does() {
    let mut members = whole("first");
    members.extend(whole("second"));
    members[3].bytes = b"{}".to_vec();
    let ground = Ground::new();
    let path = ground.file("bundle.tar");
    fs::write(&path, tar_of(&members)).unwrap();
    let error = ground
        .store()
        .import(&path, &catalog(), &Silent)
        .unwrap_err();
    let wrong =
        matches!(&error, BundleError::Store(FetchError::FileHash { set, .. }) if set == "second");
    assert!(wrong, "{error}");
    assert_eq!(ground.files(), [""; 0]);
    // And what is there already stays as it is.
    let ground = Ground::with(&["first"]);
    let files = ground.files();
    let path = ground.file("bundle.tar");
    fs::write(&path, tar_of(&members)).unwrap();
    assert!(ground.store().import(&path, &catalog(), &Silent).is_err());
    assert_eq!(ground.files(), files);
}

#[test]
fn a_damaged_set_is_replaced() {
    let (catalog, from, to) = (
        catalog(),
        Ground::with(&["first"]),
        Ground::with(&["first"]),
    );
    let first = catalog.weights("first").unwrap();
    let path = from.file("bundle.tar");
    from.store().export(&path, &[first], &Silent).unwrap();
    fs::remove_file(to.root().join("first/model.bin")).unwrap();
    assert_eq!(names(&to, &path), [("first".to_owned(), true)]);
    to.store().verify(first).unwrap();
    assert_eq!(to.store().leftovers(&catalog).unwrap(), []);
}

#[test]
fn leftovers_are_what_nothing_needs_and_only_that_is_cleared() {
    let (catalog, ground) = (catalog(), Ground::with(&["first", "second"]));
    let root = ground.root();
    fs::rename(root.join("second"), root.join("retired")).unwrap();
    for (path, bytes) in [
        (".fetch/first/wheels/a.whl", 10),
        (".fetch/first/partial-x/set/model.bin", 20),
        (".fetch/first/lock", 0),
        (".fetch/gone/wheels/b.whl", 30),
        (".packed/first/model.gguf.packed", 60),
        (".packed/retired/model.gguf.packed", 50),
        (".packed/second/model.gguf.packed", 70),
        ("not-ours/file", 40),
    ] {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), vec![0; bytes]).unwrap();
    }
    let outside = ground.file("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept"), "kept").unwrap();
    std::os::unix::fs::symlink(&outside, root.join(".fetch/gone/link")).unwrap();
    let store = ground.store();
    let found = store.leftovers(&catalog).unwrap();
    let shown: Vec<_> = found
        .iter()
        .map(|leftover| {
            let path = leftover.path.strip_prefix(&root).unwrap();
            (leftover.kind, path.to_str().unwrap())
        })
        .collect();
    assert_eq!(
        shown,
        [
            (Unlisted, "retired"),
            (Packed, ".packed/retired"),
            (Packed, ".packed/second"),
            (Unfinished, ".fetch/first/partial-x"),
            (Unfinished, ".fetch/first/wheels"),
            (Unfinished, ".fetch/gone/link"),
            (Unfinished, ".fetch/gone/wheels"),
        ]
    );
    assert_eq!(
        [1, 2, 3, 4, 6].map(|place| found[place].bytes),
        [50, 70, 20, 10, 30]
    );
    let lock = fs::File::create(root.join(".fetch/first/lock")).unwrap();
    lock.lock().unwrap();
    let error = store.clear(&found[3]).unwrap_err();
    assert!(matches!(error, FetchError::Busy { .. }), "{error}");
    drop(lock);
    for leftover in &found {
        store.clear(leftover).unwrap();
    }
    assert_eq!(store.leftovers(&catalog).unwrap(), []);
    let first = catalog.weights("first").unwrap();
    assert!(store.is_complete(first));
    assert!(store.packed_folder(first).exists());
    assert!(!root.join("retired").exists());
    assert_eq!(fs::read(outside.join("kept")).unwrap(), b"kept");
    assert!(root.join("not-ours/file").exists());
}

#[test]
fn a_tar_file_made_by_hand_is_a_bundle_too() {
    let ground = Ground::new();
    let path = ground.file("bundle.tar");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(&tar_of(&whole("second"))).unwrap();
    assert_eq!(names(&ground, &path), [("second".to_owned(), true)]);
}
