//! `hearth dev` as a program: what it runs, what it passes on, what it refuses.

use std::os::unix::process::ExitStatusExt;

use testkit::{Server, weights_home};

use crate::ENGINE;
use crate::project::{Project, Running, free_address, get};

/// Options of a server of its own, on a free port.
fn own_server() -> Vec<&'static str> {
    [&["--listen", "127.0.0.1:0"], ENGINE].concat()
}

/// Runs a script of Node under `hearth dev`.
fn script(project: &Project, options: &[&str], script: &str) -> Running {
    project.dev(options, &["-e", script])
}

#[test]
fn the_exit_code_is_the_commands() {
    let project = Project::new("current");
    for code in [0, 1, 42] {
        let mut running = script(&project, &own_server(), &format!("process.exit({code})"));
        assert_eq!(running.end().code(), Some(code), "{}", running.output());
    }
    let mut killed = script(
        &project,
        &own_server(),
        "process.kill(process.pid, 'SIGKILL')",
    );
    assert_eq!(killed.end().code(), Some(128 + 9));
    let mut missing =
        Running::start(project.hearth(&["dev", "--listen", "127.0.0.1:0", "no-such-program"]));
    assert_eq!(missing.end().code(), Some(127));
    assert!(missing.output().contains("no-such-program cannot be run"));
}

#[test]
fn a_signal_reaches_the_command_and_the_server_ends_with_it() {
    let project = Project::new("current");
    let program = "
        for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'])
            process.on(name, () => { console.log('got ' + name); process.exit(7) });
        console.log('at ' + process.env.HEARTH_URL);
        setInterval(() => {}, 1000);";
    for signal in ["INT", "TERM", "HUP"] {
        let mut running = script(&project, &own_server(), program);
        let address = running.until("address", |output| {
            let (_, address) = output
                .split_once("\nat http://")
                .or(output.split_once("at http://127"))?;
            let (line, _) = address.split_once('\n')?;
            let port = line.rsplit(':').next()?;
            format!("127.0.0.1:{port}").parse().ok()
        });
        assert!(get(address, "/").unwrap().1.starts_with("hearth "));
        running.signal(&format!("-{signal}"));
        assert_eq!(running.end().code(), Some(7), "{}", running.output());
        assert!(running.output().contains(&format!("got SIG{signal}")));
        assert!(get(address, "/").is_err(), "the server ended");
    }
}

#[test]
fn a_server_that_runs_already_is_used_and_outlives_the_command() {
    let server = Server::start(env!("CARGO_BIN_EXE_hearth"), &weights_home(), ENGINE);
    let project = Project::new("current");
    let address = server.base.trim_start_matches("http://");
    let program = "console.log('at ' + process.env.HEARTH_URL + '!')";
    let mut running = script(&project, &["--listen", address], program);
    assert!(running.end().success());
    running.until("address", |output| {
        output
            .contains(&format!("at {}!", server.base))
            .then_some(())
    });
    assert!(running.output().contains("runs already"));
    assert_eq!(server.get("/").status, 200);
    let mut stub = script(&project, &["--listen", address, "--engine", "stub"], "");
    assert_eq!(stub.end().code(), Some(2));
}

#[test]
fn a_port_of_another_program_is_said_plainly() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in other.incoming() {
            use std::io::{Read, Write};
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
        }
    });
    let project = Project::new("current");
    let mut running = script(&project, &["--listen", &address], "");
    assert_eq!(running.end().code(), Some(1));
    assert!(
        running.output().contains("is no hearth"),
        "{}",
        running.output()
    );
    assert!(running.output().contains("--listen"));
}

#[test]
fn variables_are_set_and_told_and_those_that_are_there_stay() {
    let project = Project::new("current");
    let print = "console.log(JSON.stringify(process.env))";
    let mut running = script(&project, &own_server(), print);
    assert!(running.end().success());
    let output = running.output();
    for name in [
        "HEARTH_URL",
        "NODE_OPTIONS",
        "CLOUDFLARE_API_BASE_URL",
        "CLOUDFLARE_BASE_URL",
        "CLOUDFLARE_ACCOUNT_ID",
        "CLOUDFLARE_API_TOKEN",
    ] {
        assert!(
            output.contains(&format!("sets {name}=")),
            "{name} in {output}"
        );
    }
    assert!(!output.contains("OPENAI_"));
    let mut command = project.hearth(&["dev", "--listen", "127.0.0.1:0", "--openai"]);
    command.args(ENGINE).args(["node", "-e", print]);
    command
        .env("CLOUDFLARE_API_TOKEN", "mine")
        .env("NODE_OPTIONS", "--no-warnings");
    let mut running = Running::start(command);
    assert!(running.end().success());
    running.until("environment", |output| output.contains('}').then_some(()));
    let output = running.output();
    let json = output.lines().find(|line| line.starts_with('{')).unwrap();
    let variables: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(variables["CLOUDFLARE_API_TOKEN"], "mine");
    assert!(
        variables["NODE_OPTIONS"]
            .as_str()
            .unwrap()
            .starts_with("--no-warnings --require ")
    );
    assert!(
        variables["OPENAI_BASE_URL"]
            .as_str()
            .unwrap()
            .ends_with("/ai/v1")
    );
    assert!(output.contains("CLOUDFLARE_API_TOKEN is set already"));
    assert!(!output.contains("sets CLOUDFLARE_API_TOKEN"));
}

#[test]
fn deployments_are_refused_before_anything_starts() {
    let project = Project::new("current");
    std::fs::write(
        project.folder().join("package.json"),
        r#"{"scripts":{"ship":"wrangler deploy"}}"#,
    )
    .unwrap();
    for command in [&["npx", "wrangler", "deploy"][..], &["npm", "run", "ship"]] {
        let mut running = Running::start(project.hearth(&[&["dev"], command].concat()));
        assert_eq!(running.end().code(), Some(2), "{}", running.output());
        assert!(running.output().contains("`wrangler deploy`"));
        assert!(!running.output().contains("sets "));
    }
}

#[test]
fn when_the_command_is_killed_its_server_ends() {
    let project = Project::new("current");
    let address = free_address();
    let listen = address.to_string();
    let options = [&["--listen", &listen], ENGINE].concat();
    let mut running = script(
        &project,
        &options,
        "console.log('pid ' + process.pid + '.'); setInterval(() => {}, 1000)",
    );
    let id: u32 = running.until("pid", |output| {
        output.split_once("pid ")?.1.split_once('.')?.0.parse().ok()
    });
    assert!(get(address, "/").is_ok());
    let killed = std::process::Command::new("kill")
        .args(["-KILL", &id.to_string()])
        .status();
    assert!(killed.unwrap().success());
    let status = running.end();
    assert_eq!((status.code(), status.signal()), (Some(137), None));
    assert!(get(address, "/").is_err());
}
