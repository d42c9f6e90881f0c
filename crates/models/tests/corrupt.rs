//! Files that are not what they say: a typed error that names the file, soon, and never a panic.

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::families::converted;
use common::gguf::GgufFile;
use common::golden;
use models::device::Device;
use models::{Checkpoint, Files, LoadError, Quality, bert, decoder};
use serde_json::{Value, json};

/// The longest that a bad file may take to be refused.
const PATIENCE: Duration = Duration::from_millis(500);

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn load_decoder(folder: &Path) -> Result<(), LoadError> {
    let began = Instant::now();
    let loaded = decoder::load(&Files::new(folder.to_path_buf()), &Device::Cpu).map(|_| ());
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    loaded
}

/// A copy of a golden folder with one file replaced.
fn with_file(name: &str, file: &str, bytes: &[u8]) -> tempfile::TempDir {
    let copy = folder();
    for entry in std::fs::read_dir(golden(name))
        .expect("a folder")
        .map(|entry| entry.expect("an entry"))
    {
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("copied");
    }
    std::fs::write(copy.path().join(file), bytes).expect("written");
    copy
}

fn gguf(bytes: &[u8]) -> Result<(), LoadError> {
    let folder = folder();
    std::fs::write(folder.path().join("model.gguf"), bytes).expect("written");
    load_decoder(folder.path())
}

fn assert_corrupt(loaded: Result<(), LoadError>, file: &str, what: &str) {
    match loaded {
        Err(LoadError::Corrupt { file: blamed, .. }) => {
            assert!(blamed.ends_with(file), "{what}: {}", blamed.display());
        }
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn a_gguf_cut_anywhere_is_corrupt() {
    let whole = converted("tiny-llama").bytes();
    assert!(gguf(&whole).is_ok());
    for length in
        (0..whole.len())
            .step_by(1999)
            .chain([1, 3, 4, 8, 16, 23, 24, 25, whole.len() - 1])
    {
        assert_corrupt(
            gguf(&whole[..length]),
            "model.gguf",
            &format!("cut at {length}"),
        );
    }
}

#[test]
fn a_gguf_with_changed_bytes_is_refused_or_loads() {
    let whole = converted("tiny-llama31-rope").bytes();
    let header = whole.len() - 270_000;
    let mut random = 1u64;
    for _ in 0..150 {
        let mut bytes = whole.clone();
        for _ in 0..3 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            bytes[(random >> 33) as usize % header] = (random >> 25) as u8;
        }
        let _ = gguf(&bytes);
    }
}

#[test]
fn lies_of_a_gguf_are_corrupt() {
    let head = |version: u32, tensors: u64, entries: u64| {
        let counts = [tensors.to_le_bytes(), entries.to_le_bytes()].concat();
        [
            b"GGUF".as_slice(),
            &version.to_le_bytes(),
            &counts,
            &[0; 64],
        ]
        .concat()
    };
    for (tensors, entries) in [
        (u64::MAX, 0),
        (0, u64::MAX),
        (1 << 40, 0),
        (0, 1 << 40),
        (60_000, 60_000),
    ] {
        assert_corrupt(gguf(&head(3, tensors, entries)), "model.gguf", "counts");
    }
    assert!(matches!(
        gguf(&head(1, 0, 0)),
        Err(LoadError::Unsupported { .. })
    ));
    assert!(matches!(
        gguf(&head(0x0300_0000, 0, 0)),
        Err(LoadError::Unsupported { .. })
    ));
    let lie = |what: &str, tell: &dyn Fn(&mut GgufFile) -> &mut GgufFile| {
        let mut file = GgufFile::default();
        file.text("general.architecture", "llama");
        tell(&mut file);
        assert_corrupt(gguf(&file.bytes()), "model.gguf", what);
    };
    for alignment in [0, 1, 3, 48, 1 << 30] {
        lie("alignment", &|file| {
            file.integer("general.alignment", alignment)
        });
    }
    lie("no name", &|file| file.integer("", 1));
    lie("two entries of a name", &|file| {
        file.integer("a", 1).integer("a", 1)
    });
    lie("an unknown type", &|file| file.entry("a", 13, &[0; 8]));
    lie("a long text", &|file| {
        file.entry("a", 8, &u64::MAX.to_le_bytes())
    });
    let array =
        |kind: u32, count: u64| [kind.to_le_bytes().as_slice(), &count.to_le_bytes()].concat();
    for kind in [0, 8, 9, 10] {
        lie("a long array", &|file| {
            file.entry("a", 9, &array(kind, u64::MAX / 4))
        });
        lie("a long array", &|file| {
            file.entry("a", 9, &array(kind, 1 << 33))
        });
    }
    lie("arrays in arrays", &|file| {
        file.entry("a", 9, &array(9, 1).repeat(100_000))
    });
    for shape in [
        [1usize << 32, 1 << 32],
        [usize::MAX, 2],
        [0, 8],
        [1 << 20, 1 << 20],
        [1000, 1000],
    ] {
        lie("a large shape", &|file| file.info("t", &shape, 0, 0));
    }
    lie("a far tensor", &|file| {
        file.tensor("t", &[8], &[0.0; 8])
            .info("u", &[8], 0, u64::MAX - 31)
    });
    lie("a tensor between steps", &|file| {
        file.tensor("t", &[8], &[0.0; 8]).info("u", &[1], 0, 4)
    });
    lie("tensors that overlap", &|file| {
        file.tensor("t", &[8], &[0.0; 8]).info("u", &[8], 0, 0)
    });
    lie("two tensors of a name", &|file| {
        file.tensor("t", &[8], &[0.0; 8])
            .tensor("t", &[8], &[0.0; 8])
    });
    lie("half a block", &|file| {
        file.tensor("t", &[32], &[0.0; 32]).info("u", &[16], 2, 128)
    });
    lie("nothing of a Llama", &|file| {
        file.integer("llama.block_count", 2)
    });
}

#[test]
fn numbers_of_a_gguf_that_cannot_be_are_corrupt() {
    for (key, value) in [
        ("llama.block_count", 0),
        ("llama.block_count", 3),
        ("llama.block_count", u32::MAX),
        ("llama.embedding_length", 47),
        ("llama.embedding_length", u32::MAX),
        ("llama.attention.head_count", 0),
        ("llama.attention.head_count_kv", 3),
        ("llama.context_length", u32::MAX),
        ("llama.vocab_size", 513),
    ] {
        let mut bytes = converted("tiny-llama").bytes();
        let mut entry = Vec::new();
        common::gguf::text(&mut entry, key);
        let at = bytes
            .windows(entry.len())
            .position(|window| window == entry)
            .expect("the entry")
            + entry.len()
            + 4;
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        assert!(
            matches!(
                gguf(&bytes),
                Err(LoadError::Corrupt { .. } | LoadError::Unsupported { .. })
            ),
            "{key} = {value}"
        );
    }
}

fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [length.as_slice(), header.as_bytes(), &vec![0; data]].concat()
}

fn open(bytes: &[u8]) -> Result<(), LoadError> {
    let folder = folder();
    std::fs::write(folder.path().join("model.safetensors"), bytes).expect("written");
    let began = Instant::now();
    let opened = Checkpoint::open(&Files::new(folder.path().to_path_buf())).map(|_| ());
    assert!(began.elapsed() < PATIENCE);
    opened
}

fn entry(dtype: &str, shape: &str, begin: usize, end: usize) -> String {
    format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
}

fn one(entry: &str, data: usize) -> Vec<u8> {
    safetensors(
        &format!(r#"{{"__metadata__":{{"format":"pt"}},"a":{entry}}}"#),
        data,
    )
}

fn two(a: &str, b: &str, data: usize) -> Vec<u8> {
    safetensors(&format!(r#"{{"a":{a},"b":{b}}}"#), data)
}

#[test]
fn bytes_that_are_no_safetensors_header_are_corrupt() {
    let long = |length: u64, rest: &[u8]| [length.to_le_bytes().as_slice(), rest].concat();
    let deep = "[".repeat(100_000);
    let many = (0..100_000).map(|n| format!(r#""{n}":{}"#, entry("U8", "[0]", 0, 0)));
    let many = many.collect::<Vec<_>>().join(",");
    for (what, bytes) in [
        ("empty", vec![]),
        ("short", vec![1, 0, 0]),
        ("a long header", long(u64::MAX, b"{}")),
        ("a header beyond the end", long(1000, b"{}")),
        ("a large header", long(50 << 20, &vec![b' '; 50 << 20])),
        ("no JSON", safetensors("nonsense", 0)),
        ("no object", safetensors("[]", 0)),
        ("deep JSON", safetensors(&format!("{{\"a\":{deep}"), 0)),
        (
            "deep metadata",
            safetensors(&format!("{{\"__metadata__\":{deep}"), 0),
        ),
        ("many tensors", safetensors(&format!("{{{many}}}"), 0)),
    ] {
        assert_corrupt(open(&bytes), "model.safetensors", what);
    }
}

#[test]
fn lies_of_a_safetensors_header_are_corrupt() {
    assert!(open(&one(&entry("F32", "[2,2]", 0, 16), 16)).is_ok());
    let none = entry("U8", "[0]", 0, 0);
    let ranks = format!("{:?}", [1; 99]);
    for (what, bytes) in [
        (
            "more bytes than numbers",
            one(&entry("F32", "[2,2]", 0, 20), 20),
        ),
        (
            "fewer bytes than numbers",
            one(&entry("F32", "[2,2]", 0, 12), 12),
        ),
        ("another type", one(&entry("F16", "[2,2]", 0, 16), 16)),
        (
            "an end beyond the file",
            one(&entry("F32", "[2,2]", 0, 16), 12),
        ),
        (
            "an end before its begin",
            one(&entry("F32", "[2,2]", 16, 0), 16),
        ),
        (
            "too many to count",
            one(&entry("F32", "[4294967296,4294967296]", 0, 0), 0),
        ),
        ("a negative size", one(&entry("F32", "[-1]", 0, 0), 0)),
        ("many dimensions", one(&entry("U8", &ranks, 0, 1), 1)),
        (
            "an overlap",
            two(&entry("U8", "[4]", 0, 4), &entry("U8", "[4]", 2, 6), 6),
        ),
        (
            "a hole",
            two(&entry("U8", "[4]", 0, 4), &entry("U8", "[4]", 6, 10), 10),
        ),
        ("bytes of no tensor", one(&entry("U8", "[4]", 0, 4), 5)),
        (
            "a tensor twice",
            safetensors(&format!(r#"{{"a":{none},"a":{none}}}"#), 0),
        ),
    ] {
        assert_corrupt(open(&bytes), "model.safetensors", what);
    }
    let error = open(&one(&entry("F4", "[2,2]", 0, 2), 2));
    assert!(
        matches!(error, Err(LoadError::Unsupported { .. })),
        "a type that is not read here"
    );
}

#[test]
fn an_index_cannot_lead_out_of_the_folder() {
    for name in [
        "../model.safetensors",
        "/etc/passwd",
        "a/b",
        "",
        "..",
        "a\\b",
    ] {
        let folder = folder();
        let index = json!({"weight_map": {"a": name}}).to_string();
        std::fs::write(folder.path().join("model.safetensors.index.json"), index).expect("written");
        let opened = Checkpoint::open(&Files::new(folder.path().to_path_buf())).map(|_| ());
        assert_corrupt(opened, "model.safetensors.index.json", name);
    }
}

#[test]
fn tensors_and_configuration_must_fit() {
    let edit = |key: &str, value: Value| {
        let bytes = std::fs::read(golden("tiny-llama").join("config.json")).expect("config.json");
        let mut config: Value = serde_json::from_slice(&bytes).expect("JSON");
        config[key] = value;
        with_file("tiny-llama", "config.json", config.to_string().as_bytes())
    };
    for (key, value) in [
        ("num_hidden_layers", json!(3)),
        ("vocab_size", json!(1024)),
        ("num_key_value_heads", json!(4)),
        ("intermediate_size", json!(95)),
    ] {
        let error = load_decoder(edit(key, value).path()).expect_err(key);
        assert!(error.to_string().contains("tensor \""), "{error}");
        assert_corrupt(Err(error), "model.safetensors", key);
    }
    for (key, value) in [
        ("num_hidden_layers", json!(0)),
        ("num_hidden_layers", json!(u64::MAX)),
        ("num_hidden_layers", json!(1e30)),
        ("hidden_size", json!(-1)),
        ("hidden_size", json!("48")),
        ("num_attention_heads", json!(0)),
        ("num_key_value_heads", json!(3)),
        ("head_dim", json!(11)),
        ("head_dim", json!(u64::MAX)),
        ("max_position_embeddings", json!(0)),
        ("rms_norm_eps", json!(-1)),
        ("rope_theta", json!(0)),
        ("rope_scaling", json!({"rope_type": "llama3", "factor": 0})),
        ("rope_scaling", json!({"rope_type": "linear"})),
        ("rope_scaling", json!({"rope_type": "yarn"})),
    ] {
        assert_corrupt(load_decoder(edit(key, value).path()), "config.json", key);
    }
    for (key, value) in [
        ("model_type", json!("mamba")),
        ("hidden_act", json!("relu")),
        ("rope_scaling", json!({"type": "longrope"})),
    ] {
        let error = load_decoder(edit(key, value).path());
        assert!(
            matches!(error, Err(LoadError::Unsupported { .. })),
            "{key}: {error:?}"
        );
    }
}

#[test]
fn a_tokenizer_must_be_one_and_fit_the_model() {
    for text in [
        "",
        "nonsense",
        "{}",
        "[]",
        "{\"model\": {\"type\": \"BPE\"}}",
        &"[".repeat(100_000),
    ] {
        let folder = with_file("tiny-llama", "tokenizer.json", text.as_bytes());
        assert_corrupt(load_decoder(folder.path()), "tokenizer.json", text);
        let folder = with_file("tiny-bert-embed", "tokenizer.json", text.as_bytes());
        let loaded = bert::load(
            &Files::new(folder.path().to_path_buf()),
            &Device::Cpu,
            Quality::Exact,
        )
        .map(|_| ());
        assert_corrupt(loaded, "tokenizer.json", text);
    }
    let bytes = std::fs::read(golden("tiny-llama").join("tokenizer.json")).expect("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&bytes).expect("JSON");
    tokenizer["model"]["vocab"]["beyond"] = json!(512);
    let folder = with_file(
        "tiny-llama",
        "tokenizer.json",
        tokenizer.to_string().as_bytes(),
    );
    assert_corrupt(
        load_decoder(folder.path()),
        "tokenizer.json",
        "a token beyond the vocabulary",
    );
    let broken = json!({"chat_template": "{% for %}"}).to_string();
    let folder = with_file("tiny-llama", "tokenizer_config.json", broken.as_bytes());
    assert!(
        matches!(
            load_decoder(folder.path()),
            Err(LoadError::Unsupported { .. })
        ),
        "a broken template"
    );
}

#[test]
fn a_bert_must_fit_its_configuration() {
    let bytes = std::fs::read(golden("tiny-bert-embed").join("config.json")).expect("config.json");
    for (key, value, file) in [
        ("hidden_size", json!(0), "config.json"),
        ("num_attention_heads", json!(5), "config.json"),
        ("num_hidden_layers", json!(u64::MAX), "config.json"),
        ("layer_norm_eps", json!(-1), "config.json"),
        ("num_hidden_layers", json!(3), "model.safetensors"),
        ("vocab_size", json!(160), "model.safetensors"),
        ("max_position_embeddings", json!(512), "model.safetensors"),
    ] {
        let mut config: Value = serde_json::from_slice(&bytes).expect("JSON");
        config[key] = value;
        let folder = with_file(
            "tiny-bert-embed",
            "config.json",
            config.to_string().as_bytes(),
        );
        let loaded = bert::load(
            &Files::new(folder.path().to_path_buf()),
            &Device::Cpu,
            Quality::Exact,
        )
        .map(|_| ());
        assert_corrupt(loaded, file, key);
    }
}

#[test]
fn a_file_that_is_not_there_is_missing() {
    let empty = folder();
    assert!(matches!(
        load_decoder(empty.path()),
        Err(LoadError::Missing { .. })
    ));
    let loaded = bert::load(
        &Files::new(empty.path().to_path_buf()),
        &Device::Cpu,
        Quality::Exact,
    )
    .map(|_| ());
    assert!(matches!(loaded, Err(LoadError::Missing { .. })));
}
