//! wrangler is killed while its Worker reads a model's answer.

use std::io::Read;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use testkit::{Server, weights, weights_home};

use crate::project::{Project, Running, alone, free_address, get};

/// Time for the server to see that nobody reads any more; the answer itself takes longer.
const NOTICE_MAX: Duration = Duration::from_secs(30);

/// wrangler with a Worker that streams a long answer of a real model, and that answer once it has begun.
struct Streaming {
    running: Running,
    _answer: ureq::Body,
}

impl Streaming {
    fn start(project: &Project, options: &[&str]) -> Self {
        let own = free_address();
        let port = own.port().to_string();
        let wrangler = project.package("wrangler/bin/wrangler.js");
        let place = ["--ip", "127.0.0.1", "--port", &port];
        let arguments = [&[wrangler.as_str(), "dev"][..], &place].concat();
        let mut running = project.dev(options, &arguments);
        assert_eq!(running.page(own, "/").0, 200, "{}", running.output());
        let mut answer = ureq::get(format!("http://{own}/long")).call().unwrap();
        let mut first = [0; 5];
        let body = answer.body_mut();
        body.as_reader().read_exact(&mut first).unwrap();
        assert_eq!(&first, b"data:");
        Self {
            running,
            _answer: answer.into_body(),
        }
    }
}

/// Jobs that the models of a server are at.
fn busy(address: SocketAddr) -> u64 {
    let (status, text) = get(address, "/hearth/ps").unwrap();
    assert_eq!(status, 200, "{text}");
    let page: serde_json::Value = serde_json::from_str(&text).unwrap();
    let models = page["models"].as_array().unwrap().iter();
    models.map(|model| model["busy"].as_u64().unwrap()).sum()
}

#[test]
fn what_a_killed_wrangler_asked_for_is_not_worked_on() {
    let _alone = alone();
    weights("smollm2-135m-instruct");
    let options = ["--no-auth", "--offline"];
    let server = Server::start(env!("CARGO_BIN_EXE_hearth"), &weights_home(), &options);
    let address = server.base.trim_start_matches("http://").to_owned();
    let project = Project::new("current");
    let streaming = Streaming::start(&project, &["--listen", &address]);
    let address = address.parse().unwrap();
    assert_eq!(busy(address), 1);
    drop(streaming.running); // kill -9, of workerd, too
    let killed = Instant::now();
    while busy(address) > 0 {
        assert!(killed.elapsed() < NOTICE_MAX, "the job runs on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_server_of_a_killed_wrangler_ends() {
    let _alone = alone();
    weights("smollm2-135m-instruct");
    let project = Project::new("current");
    let address = free_address();
    let options = ["--listen", &address.to_string(), "--offline"];
    let mut streaming = Streaming::start(&project, &options);
    assert!(get(address, "/").is_ok());
    let hearth = streaming.running.id().to_string();
    let killed = Command::new("pkill")
        .args(["-KILL", "-P", &hearth])
        .status();
    assert!(killed.unwrap().success());
    let status = streaming.running.end();
    assert_eq!(status.code(), Some(137), "{}", streaming.running.output());
    assert!(get(address, "/").is_err(), "the server ended");
}
