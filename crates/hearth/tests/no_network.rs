//! `--offline` on a machine that has no network: a namespace with nothing but its own loopback.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::process::{Command, Output};

use serde_json::json;
use testkit::{Server, golden, weights, weights_home};

/// The file whose presence tells the child that it is one.
const INSIDE: &str = "inside-a-namespace";
const CHILD: &str = "child_answers_without_a_network";
/// Ways into a namespace: by a user namespace, as root, and as a user of a machine for continuous integration who
/// may become root.
const WAYS: [&[&str]; 3] = [
    &["unshare", "--map-root-user", "--net"],
    &["unshare", "--net"],
    &["sudo", "--non-interactive", "unshare", "--net"],
];
/// Brings loopback up where there is no `ip`: SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP of Linux's if.h.
const LOOPBACK_UP: &str = "
import fcntl, socket, struct
s = socket.socket()
name, flags = struct.unpack('16sH', fcntl.ioctl(s, 0x8913, struct.pack('16sH14x', b'lo', 0))[:18])
fcntl.ioctl(s, 0x8914, struct.pack('16sH14x', b'lo', flags | 1))
";

fn run(way: &[&str], arguments: &[&str], folder: &std::path::Path) -> std::io::Result<Output> {
    Command::new(way[0])
        .args(&way[1..])
        .args(arguments)
        .current_dir(folder)
        .output()
}

#[test]
fn offline_answers_on_a_machine_without_a_network() {
    for set in [
        "smollm2-135m-instruct",
        "all-minilm-l6-v2",
        "whisper-tiny-en",
    ] {
        weights(set);
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(INSIDE), "").unwrap();
    let mut tried = String::new();
    let way = WAYS.into_iter().find(|way| {
        let (works, why) = match run(way, &["true"], folder.path()) {
            Ok(output) => (
                output.status.success(),
                String::from_utf8_lossy(&output.stderr).into_owned(),
            ),
            Err(error) => (false, error.to_string()),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(tried, "  {}: {}", way.join(" "), why.trim());
        works
    });
    let way = way.unwrap_or_else(|| {
        panic!(
            "this machine lets nobody make a network namespace, without which this promise cannot be tested:\n{tried}\
             Allow user namespaces (sysctl kernel.apparmor_restrict_unprivileged_userns=0, \
             user.max_user_namespaces), or in a container start it with --cap-add SYS_ADMIN"
        )
    });
    let program = std::env::current_exe().unwrap();
    let arguments = [program.to_str().unwrap(), "--exact", CHILD, "--nocapture"];
    let output = run(way, &arguments, folder.path()).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("answered without a network"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The child's part. Run by itself it is outside and has nothing to do; the test above starts it inside.
#[test]
fn child_answers_without_a_network() {
    if !fs::exists(INSIDE).unwrap() {
        return;
    }
    let up = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status();
    if !up.is_ok_and(|status| status.success()) {
        let python = Command::new("python3").args(["-c", LOOPBACK_UP]).status();
        assert!(
            python.is_ok_and(|status| status.success()),
            "loopback cannot be brought up"
        );
    }
    // Of the routes only the head of the table is there, and of the devices only loopback.
    assert_eq!(
        fs::read_to_string("/proc/net/route")
            .unwrap()
            .lines()
            .count(),
        1
    );
    let devices = fs::read_to_string("/proc/net/dev").unwrap();
    let others: Vec<&str> = devices
        .lines()
        .skip(2)
        .filter(|line| !line.trim().starts_with("lo:"))
        .collect();
    assert!(others.iter().all(|line| is_down(line)), "{devices}");
    let outside = TcpStream::connect("192.0.2.1:80").unwrap_err();
    assert_eq!(outside.kind(), ErrorKind::NetworkUnreachable);

    let server = Server::start(
        env!("CARGO_BIN_EXE_hearth"),
        &weights_home(),
        &["--offline"],
    );
    let chat = server.run(
        "@cf/meta/llama-3.2-1b-instruct",
        &json!({"prompt": "Say hello.", "max_tokens": 8}),
    );
    assert_eq!(chat.status, 200, "{}", chat.text());
    assert!(
        !chat.json()["result"]["response"]
            .as_str()
            .unwrap()
            .is_empty()
    );
    let embedding = server.run("@cf/baai/bge-small-en-v1.5", &json!({"text": "hello"}));
    assert_eq!(embedding.json()["result"]["shape"], json!([1, 384]));
    let audio = fs::read(golden("whisper/jfk.wav")).unwrap();
    let speech = server.post("@cf/openai/whisper-tiny-en", "audio/wav", &audio);
    assert!(speech.text().contains("country"), "{}", speech.text());
    println!("answered without a network");
}

/// A device that the kernel puts into every namespace, such as `sit0`, and that carried nothing.
fn is_down(line: &str) -> bool {
    let numbers = line.split_once(':').map(|(_, numbers)| numbers);
    numbers.is_some_and(|numbers| numbers.split_whitespace().all(|number| number == "0"))
}
