//! The commands that look after an installation: config, completions, doctor, rm, prune, verify, bundle.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use testkit::weights;

const SET: &str = "all-minilm-l6-v2";
const MODEL: &str = "@cf/baai/bge-small-en-v1.5";

/// A folder to work in, with a home of its own in `home/`; nothing of the machine's environment speaks to hearth.
struct Ground {
    folder: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// With the real set of weights [`SET`] in the store; the files are shared with the other tests' store.
    fn with_weights() -> Self {
        let ground = Self::new();
        let folder = ground.store().join(SET);
        fs::create_dir_all(&folder).unwrap();
        for entry in fs::read_dir(weights(SET)).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
        }
        ground
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn store(&self) -> PathBuf {
        self.path("home/weights")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hearth"));
        command.args(arguments).current_dir(self.folder.path());
        for (name, _) in std::env::vars() {
            if name.starts_with("HEARTH_") {
                command.env_remove(name);
            }
        }
        command.env("HEARTH_HOME", self.path("home"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The JSON that a command prints when all is well.
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            stderr(&output)
        );
        parsed(&output)
    }
}

fn parsed(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", stdout(output)))
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn row<'a>(rows: &'a Value, key: &str, value: &str) -> &'a Value {
    let found = rows
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row[key] == value);
    found.unwrap_or_else(|| panic!("no {key} {value} in {rows}"))
}

#[test]
fn config_tells_where_each_value_comes_from() {
    let ground = Ground::new();
    fs::write(
        ground.path("hearth.toml"),
        "device = \"cpu\"\nlisten = \"127.0.0.1:1\"\ntoken = \"of-the-file\"\noffline = true\npreload = [\"a\", \"b\"]\n",
    )
    .unwrap();
    let arguments = ["config", "--json", "--listen", "127.0.0.1:3", "--no-auth"];
    let mut command = ground.command(&arguments);
    command
        .env("HEARTH_LISTEN", "127.0.0.1:2")
        .env("HEARTH_TOKEN", "of-the-environment");
    command
        .env("HEARTH_ALLOW_HOST", "one.lan,two.lan")
        .env("HEARTH_OFFLINE", "0");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let rows = parsed(&output);
    for (key, value, origin, named) in [
        ("config", json!("hearth.toml"), "default", json!(null)),
        (
            "home",
            json!(ground.path("home")),
            "environment",
            json!("HEARTH_HOME"),
        ),
        (
            "offline",
            json!(false),
            "environment",
            json!("HEARTH_OFFLINE"),
        ),
        ("device", json!("cpu"), "file", json!("hearth.toml")),
        ("listen", json!("127.0.0.1:3"), "flag", json!("--listen")),
        ("token", json!("set"), "environment", json!("HEARTH_TOKEN")),
        ("no-auth", json!(true), "flag", json!("--no-auth")),
        (
            "allow-host",
            json!(["one.lan", "two.lan"]),
            "environment",
            json!("HEARTH_ALLOW_HOST"),
        ),
        ("deprecated", json!("serve"), "default", json!(null)),
        ("preload", json!(["a", "b"]), "file", json!("hearth.toml")),
        ("data", json!(ground.path("home")), "default", json!(null)),
    ] {
        let row = row(&rows, "key", key);
        assert_eq!(
            (&row["value"], &row["origin"], &row["named"]),
            (&value, &json!(origin), &named),
            "{key}"
        );
    }
    let memory = &row(&rows, "key", "memory")["value"];
    assert!(memory.as_str().unwrap().ends_with(" MB"), "{memory}");
    for shown in [stdout(&output), stdout(&ground.run(&["config"]))] {
        assert!(!shown.contains("of-the"), "a token is never shown: {shown}");
    }
}

#[test]
fn a_grade_that_no_weights_have_is_refused_with_what_to_say() {
    let output = Ground::new().run(&["list", "--grade", "stub"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--engine stub"));
}

#[test]
fn config_shows_what_keeps_serve_from_starting() {
    let ground = Ground::new();
    let output = ground.run(&["config", "--listen", "0.0.0.0:7777"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stdout(&output).contains("0.0.0.0:7777"));
    assert!(
        stderr(&output).contains("no token is set"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_wrong_value_is_told_with_what_said_it() {
    let ground = Ground::new();
    let output = ground
        .command(&["list"])
        .env("HEARTH_DEVICE", "gpu")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("HEARTH_DEVICE: \"gpu\""),
        "{}",
        stderr(&output)
    );
    for (text, key, line) in [
        ("device = \"cpu\"\nlisen = \"x\"\n", "lisen", "line 2"),
        (
            "\n\n[model.\"@cf/a/b\"]\n",
            "task: is missing",
            "hearth.toml:3",
        ),
        ("offline = \"yes\"\n", "offline", "line 1"),
    ] {
        fs::write(ground.path("hearth.toml"), text).unwrap();
        let output = ground.run(&["config"]);
        assert_eq!(output.status.code(), Some(2), "{text}");
        let told = stderr(&output);
        assert!(
            told.contains("hearth.toml") && told.contains(key) && told.contains(line),
            "{told}"
        );
    }
}

#[test]
fn the_file_adds_models_weights_and_aliases() {
    let ground = Ground::new();
    let text = r#"
        listen = "127.0.0.1:7000"
        [weights.my-llama]
        architecture = "llama"
        path = "my-llama"
        [model."@cf/meta/llama-3.1-8b-instruct"]
        variants = [{ weights = "my-llama", grade = "quantised" }]
        [alias]
        "mine" = "@cf/meta/llama-3.1-8b-instruct"
    "#;
    fs::write(ground.path("hearth.toml"), text).unwrap();
    let folder = ground.path("my-llama");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("model.gguf"), "weights").unwrap();
    let output = ground.run(&["list", "--json"]);
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let named = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap();
    let row = named("@cf/meta/llama-3.1-8b-instruct");
    assert_eq!(
        (&row["weights"], &row["grade"]),
        (&json!("my-llama"), &json!("quantised"))
    );
    assert_eq!(rows.len(), 114);
}

#[test]
fn weights_of_ones_own_are_a_folder_or_a_file_among_others() {
    let ground = Ground::new();
    let real = weights("smollm2-135m-instruct").join("model.gguf");
    let folder = ground.path("folder");
    let shelf = ground.path("shelf");
    for (place, name) in [(&folder, "model.gguf"), (&shelf, "mine.gguf")] {
        fs::create_dir_all(place).unwrap();
        fs::hard_link(&real, place.join(name))
            .or_else(|_| fs::copy(&real, place.join(name)).map(drop))
            .unwrap();
    }
    // What else is on the shelf is none of its business.
    for other in ["model.gguf", "other.gguf", "tokenizer.json"] {
        fs::write(shelf.join(other), "something else").unwrap();
    }
    for path in ["folder", "shelf/mine.gguf"] {
        let text = format!(
            "[weights.mine]\narchitecture = \"llama\"\npath = \"{path}\"\n\
             [model.\"@cf/meta/llama-3.2-1b-instruct\"]\nvariants = [{{ weights = \"mine\", grade = \"twin\" }}]\n"
        );
        fs::write(ground.path("hearth.toml"), text).unwrap();
        let model = "@cf/meta/llama-3.2-1b-instruct";
        let answer = ground.json(&["run", model, "Say hello.", "--offline", "--json"]);
        assert!(
            !answer["response"].as_str().unwrap().is_empty(),
            "{path}: {answer}"
        );
    }
}

#[test]
fn memory_decides_for_run_and_list_as_for_serve() {
    let ground = Ground::with_weights();
    let state = |memory: &str| {
        let rows = ground.json(&["list", "--json", "--offline", "--memory", memory]);
        row(&rows, "name", MODEL)["state"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(state("1GB"), "on disk");
    assert!(state("50MB").contains("memory"), "{}", state("50MB"));
    let run = |memory: &str| ground.run(&["run", MODEL, "hello", "--offline", "--memory", memory]);
    assert!(run("1GB").status.success());
    let refused = run("100MB");
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("100 MB"), "{}", stderr(&refused));
    let wrong = ground.run(&["list", "--memory", "much"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        stderr(&wrong).contains("--memory: \"much\""),
        "{}",
        stderr(&wrong)
    );
}

#[test]
fn every_shell_gets_completions_that_know_the_commands() {
    let ground = Ground::new();
    // A broken configuration is no reason for a shell without completions.
    fs::write(ground.path("hearth.toml"), "broken").unwrap();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = ground.run(&["completions", shell]);
        assert!(output.status.success(), "{shell}: {}", stderr(&output));
        let script = stdout(&output);
        assert!(
            ["serve", "doctor", "offline"]
                .iter()
                .all(|word| script.contains(word)),
            "{shell}"
        );
    }
}

#[test]
fn the_doctor_finds_an_empty_offline_machine_usable() {
    let ground = Ground::new();
    let findings = ground.json(&["doctor", "--offline", "--listen", "127.0.0.1:0", "--json"]);
    let state = |check: &str| row(&findings, "check", check)["state"].clone();
    for check in ["hearth", "configuration", "device", "processor", "store"] {
        assert_eq!(state(check), "ok", "{findings}");
    }
    let weights = row(&findings, "check", "weights");
    assert_eq!(weights["state"], "warn");
    assert!(
        weights["advice"]
            .as_str()
            .unwrap()
            .contains("bundle import"),
        "{weights}"
    );
    let sources = row(&findings, "check", "sources");
    assert!(
        sources["found"].as_str().unwrap().contains("--offline"),
        "{sources}"
    );
    assert!(
        !ground.path("home").exists(),
        "it looks and touches nothing"
    );
    let text = stdout(&ground.run(&["doctor", "--offline", "--listen", "127.0.0.1:0"]));
    assert!(
        text.lines().any(|line| line.starts_with("warn  weights ")),
        "{text}"
    );
}

#[test]
fn the_doctor_fails_on_what_does_not_work() {
    let ground = Ground::new();
    fs::write(ground.path("file"), "a file is no folder").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let file = ground.path("file");
    let arguments = [
        "doctor",
        "--offline",
        "--json",
        "--home",
        file.to_str().unwrap(),
        "--listen",
        &address,
    ];
    let output = ground.run(
        &[
            &arguments[..],
            &["--device", "cuda:99", "--deprecated", "maybe"],
        ]
        .concat(),
    );
    assert_eq!(output.status.code(), Some(1));
    let findings = parsed(&output);
    for check in ["configuration", "device", "port"] {
        let finding = row(&findings, "check", check);
        assert_eq!(finding["state"], "fail", "{findings}");
        assert!(
            finding["advice"].is_string(),
            "it says what to do: {finding}"
        );
    }
    assert!(stderr(&output).contains("port"), "{}", stderr(&output));
}

/// A hub of one repository, `acme/tiny`, with one file.
fn hub() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut line = String::new();
            let _ = BufReader::new(&stream).read_line(&mut line);
            let body = if line.starts_with("GET /api/models/acme/tiny/revision/main?blobs=true ") {
                let sha = "0123456789abcdef0123456789abcdef01234567";
                let body = json!({"id": "acme/tiny", "sha": sha, "gated": false,
                    "siblings": [{"rfilename": "tiny.gguf", "size": 1_000_000}]});
                format!(
                    "200 ok\r\nContent-Length: {}\r\n\r\n{body}",
                    body.to_string().len()
                )
            } else {
                "404 no\r\nX-Error-Code: RepoNotFound\r\nContent-Length: 0\r\n\r\n".to_owned()
            };
            let _ = stream.write_all(format!("HTTP/1.1 {body}").as_bytes());
        }
    });
    endpoint
}

#[test]
fn the_doctor_holds_the_list_of_weights_against_the_hub() {
    let ground = Ground::new();
    let entry = |name: &str, repository: &str, bytes: u32| {
        format!(
            "[weights.{name}]\narchitecture = \"llama\"\nlicence = \"MIT\"\nrepository = \"{repository}\"\n\
             unchecked = true\nfiles = [\"tiny.gguf\"]\ndisk_bytes = {bytes}\n"
        )
    };
    let file = [
        entry("right", "acme/tiny", 1_010_000),
        entry("large", "acme/tiny", 2_000_000),
        entry("gone", "acme/gone", 1),
    ];
    fs::write(ground.path("hearth.toml"), file.concat()).unwrap();
    let endpoint = hub();
    let doctor = |arguments: &[&str]| {
        let arguments = [&["doctor", "models"], arguments].concat();
        ground
            .command(&arguments)
            .env("HF_ENDPOINT", &endpoint)
            .output()
            .unwrap()
    };
    let well = doctor(&["right"]);
    assert!(well.status.success(), "{}", stderr(&well));
    let text = stdout(&well);
    assert!(
        text.contains("0123456789abcdef0123456789abcdef01234567")
            && text.contains("remove `unchecked`"),
        "{text}"
    );
    let output = doctor(&["right", "large", "gone", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).ends_with("not as the hub has it: large, gone\n"),
        "{}",
        stderr(&output)
    );
    let rows = parsed(&output);
    assert_eq!(row(&rows, "weights", "right")["problems"], json!([]));
    let write = |name: &str| row(&rows, "weights", name)["problems"][0]["write"].clone();
    assert_eq!(write("large"), "disk_bytes = 1000000");
    assert_eq!(write("gone"), "correct `repository`");

    let offline = doctor(&["--offline"]);
    assert_eq!(offline.status.code(), Some(1));
    assert!(
        stderr(&offline).contains("--offline"),
        "{}",
        stderr(&offline)
    );
    let other = doctor(&[SET]);
    assert_eq!(other.status.code(), Some(2), "{}", stderr(&other));
}

#[test]
fn weights_go_round_verified_bundled_removed_and_imported() {
    let ground = Ground::with_weights();
    let verified = ground.json(&["verify", "--json"]);
    assert_eq!(
        verified,
        json!([{ "weights": SET, "ok": true, "problem": null }])
    );
    let bundle = ground.path("bundle.tar");
    let file = bundle.to_str().unwrap();
    // A model's name means the sets that can serve it.
    let exported = ground.json(&["bundle", "export", file, MODEL, "--json"]);
    assert_eq!(exported["weights"], json!([SET]));
    assert_eq!(
        exported["bytes"],
        json!(fs::metadata(&bundle).unwrap().len())
    );

    let removed = ground.json(&["rm", MODEL, "--json"]);
    assert_eq!(removed["removed"][0]["weights"], SET);
    assert!(
        removed["freed_bytes"].as_u64().unwrap() > 90_000_000,
        "{removed}"
    );
    assert!(!ground.store().join(SET).exists());
    let again = ground.run(&["rm", SET]);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        stderr(&again).contains("nothing of all-minilm-l6-v2 is on disk"),
        "{}",
        stderr(&again)
    );

    let imported = ground.json(&["bundle", "import", file, "--offline", "--json"]);
    assert_eq!(imported[0]["weights"], SET);
    assert_eq!(imported[0]["state"], "imported");
    let skipped = ground.json(&["bundle", "import", file, "--offline", "--json"]);
    assert_eq!(skipped[0]["state"], "was here already");
    let answer = ground.json(&["run", MODEL, "hello", "--offline", "--json"]);
    assert_eq!(
        answer["shape"],
        json!([1, 384]),
        "what was imported answers"
    );
    let rows = ground.json(&["list", "--json", "--offline"]);
    assert_eq!(row(&rows, "name", MODEL)["state"], "on disk");
    assert_eq!(ground.json(&["prune", "--json"])["leftovers"], json!([]));
}

#[test]
fn damage_is_found_and_named() {
    let ground = Ground::with_weights();
    let model = ground.store().join(SET).join("model.safetensors");
    let mut bytes = fs::read(&model).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&model, bytes).unwrap();
    let output = ground.run(&["verify", SET]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stdout(&output).contains("model.safetensors"),
        "{}",
        stdout(&output)
    );
    let bundle = ground.path("bundle.tar");
    let output = ground.run(&["bundle", "export", bundle.to_str().unwrap(), SET]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!bundle.exists(), "damage does not travel");
}

#[test]
fn prune_says_first_and_then_removes_what_nothing_needs() {
    let ground = Ground::new();
    let files = [
        ("retired-set/model.bin", 1000),
        ("retired-set/.complete.json", 10),
        (".packed/retired-set/model.gguf.packed", 500),
        (".fetch/whisper-base/wheels/part.whl", 2000),
        (".fetch/whisper-base/partial-1/set/model.bin", 3000),
        ("somebody-elses/file", 4000),
    ];
    for (path, bytes) in files {
        let path = ground.store().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vec![0; bytes]).unwrap();
    }
    let planned = ground.json(&["prune", "--dry-run", "--json"]);
    assert_eq!(planned["would_free_bytes"], json!(6510));
    assert!(
        files
            .iter()
            .all(|(path, _)| ground.store().join(path).exists())
    );
    let done = ground.json(&["prune", "--json"]);
    assert_eq!(done["freed_bytes"], json!(6510));
    assert_eq!(done["leftovers"].as_array().unwrap().len(), 4);
    let left: Vec<bool> = files
        .iter()
        .map(|(path, _)| ground.store().join(path).exists())
        .collect();
    assert_eq!(left, [false, false, false, false, false, true]);
    assert!(stdout(&ground.run(&["prune"])).contains("nothing to remove"));
}

#[test]
fn a_hostile_bundle_leaves_no_trace() {
    let ground = Ground::new();
    let bundle = ground.path("bundle.tar");
    let link = (format!("{SET}/config.json"), tar::EntryType::Symlink);
    let outside = ("../../escape".to_owned(), tar::EntryType::Regular);
    for (name, kind) in [link, outside] {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(0);
        header.as_ustar_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        let mut builder = tar::Builder::new(Vec::new());
        builder.append(&header, std::io::empty()).unwrap();
        fs::write(&bundle, builder.into_inner().unwrap()).unwrap();
        let output = ground.run(&["bundle", "import", bundle.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).contains("nothing was written"),
            "{}",
            stderr(&output)
        );
        assert!(!ground.path("home").exists() && !ground.path("escape").exists());
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let ground = Ground::new();
    let mut child = ground
        .command(&["list"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

/// A container knows the address and the token by the environment alone, for `serve` and for its health check.
#[test]
fn ps_asks_the_server_of_the_same_environment() {
    let ground = Ground::new();
    let environment = |command: &mut Command, listen: &str| {
        command
            .env("HEARTH_LISTEN", listen)
            .env("HEARTH_TOKEN", "secret")
            .env("HEARTH_OFFLINE", "1");
    };
    let mut serve = ground.command(&["serve"]);
    environment(&mut serve, "0.0.0.0:0");
    let mut server = Ended(
        serve
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let mut line = String::new();
    // Kept open: the server goes on writing there.
    let mut out = BufReader::new(server.0.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    let (_, listen) = line.trim().split_once("http://").unwrap();
    let mut ps = ground.command(&["ps", "--json"]);
    environment(&mut ps, listen);
    let output = ps.output().unwrap();
    assert!(output.status.success(), "{listen}: {}", stderr(&output));
    assert_eq!(parsed(&output)["models"], json!([]));
    let refused = ground
        .command(&["ps"])
        .env("HEARTH_LISTEN", listen)
        .output()
        .unwrap();
    assert_eq!(
        refused.status.code(),
        Some(1),
        "without the token it is not healthy"
    );
}

/// A child that ends with its test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended by itself
        let _ = self.0.wait();
    }
}

/// The files that belong to an image are there and say what the README says.
#[test]
fn the_images_start_what_is_built() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for name in ["cpu", "cuda"] {
        let file = fs::read_to_string(root.join(format!("docker/{name}.Dockerfile"))).unwrap();
        for line in [
            "USER hearth",
            "HEALTHCHECK",
            "CMD [\"hearth\", \"ps\"]",
            "HEARTH_LISTEN=0.0.0.0:7777",
            // Of both kinds of weights none is lost with the container.
            "HEARTH_HOME=/weights HF_HOME=/weights/",
            "VOLUME /weights",
        ] {
            assert!(file.contains(line), "{name} lacks {line}");
        }
        let mut instructions = file.lines().filter(|line| !line.starts_with('#'));
        assert!(
            !instructions.any(|line| line.contains("TOKEN")),
            "an image holds no token"
        );
    }
}
