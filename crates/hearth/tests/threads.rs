//! The threads that compute: as many as are asked for, and none at work when there is nothing to do.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

#[cfg(target_os = "linux")]
use std::collections::BTreeMap;
use std::process::Command;
#[cfg(target_os = "linux")]
use std::time::Duration;

use serde_json::json;
use testkit::{Server, weights_home};

const HEARTH: &str = env!("CARGO_BIN_EXE_hearth");
const EMBED: &str = "@cf/baai/bge-small-en-v1.5";
const CHAT: &str = "@cf/meta/llama-3.2-1b-instruct";

fn ask(server: &Server) {
    assert_eq!(server.run(EMBED, &json!({"text": "Hi"})).status, 200);
    let body = json!({"prompt": "Hi", "max_tokens": 4});
    assert_eq!(server.run(CHAT, &body).status, 200);
}

/// The names of a process's threads.
#[cfg(target_os = "linux")]
fn names(id: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .collect()
}

#[test]
#[cfg(target_os = "linux")]
fn as_many_compute_as_are_asked_for() {
    for count in [1, 3] {
        let server = Server::start(HEARTH, &weights_home(), &["--threads", &count.to_string()]);
        ask(&server);
        assert_eq!(server.get("/hearth/ps").json()["threads"], json!(count));
        let names = names(server.id());
        // The caller of the kernels is one of them.
        let helpers = names.iter().filter(|name| name.starts_with("kernels-"));
        assert_eq!(helpers.count(), count - 1, "{names:?}");
    }
}

/// Nanoseconds that each of a process's threads has been at work, by number and name.
#[cfg(target_os = "linux")]
fn busy_nanoseconds(id: u32) -> BTreeMap<(u32, String), u64> {
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
    let busy = tasks.filter_map(|task| {
        let task = task.ok()?;
        let number = task.file_name().to_str()?.parse().ok()?;
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        let times = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        let busy = times.split(' ').next()?.parse().ok()?;
        Some(((number, name.trim().to_owned()), busy))
    });
    busy.collect()
}

/// What each thread that did something did within `time`.
#[cfg(target_os = "linux")]
fn busy_within(id: u32, time: Duration) -> BTreeMap<(u32, String), u64> {
    let before = busy_nanoseconds(id);
    std::thread::sleep(time);
    let mut busy = busy_nanoseconds(id);
    for (thread, nanoseconds) in &mut busy {
        *nanoseconds -= before.get(thread).unwrap_or(&0);
    }
    busy.retain(|_, nanoseconds| *nanoseconds > 0);
    busy
}

#[test]
#[cfg(target_os = "linux")]
fn an_idle_server_takes_less_than_half_a_percent_of_a_core() {
    const TIME: Duration = Duration::from_secs(4);
    let server = Server::start(HEARTH, &weights_home(), &["--threads", "3"]);
    ask(&server);
    // What the answers left behind is done within the first of these: counts go to disk after three seconds. A machine
    // that is shared may take a thread's time for its own; what a server does when idle, it does in each of them.
    let mut seen = Vec::new();
    for _ in 0..5 {
        let busy = busy_within(server.id(), TIME);
        if Duration::from_nanos(busy.values().sum()) < TIME / 200 {
            return;
        }
        seen.push(busy);
    }
    panic!("nanoseconds of each thread, each time of {TIME:?}: {seen:?}");
}

#[test]
fn numbers_that_make_no_sense_are_refused_and_the_environment_is_heard() {
    let config = |threads: &str| {
        Command::new(HEARTH)
            .args(["config", "--json"])
            .current_dir(std::env::temp_dir())
            .env("HEARTH_THREADS", threads)
            .output()
            .unwrap()
    };
    let refused = config("0");
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        said.contains("HEARTH_THREADS") && said.contains("1 to"),
        "{said}"
    );
    let shown = String::from_utf8(config("2").stdout).unwrap();
    assert!(
        shown.contains("threads") && shown.contains("HEARTH_THREADS"),
        "{shown}"
    );
}
