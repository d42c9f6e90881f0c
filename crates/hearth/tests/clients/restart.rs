//! A server that goes away while a client runs, and comes back.

use testkit::{Server, weights_home};

use crate::ENGINE;
use crate::project::{Project, alone, free_address, get};

#[test]
fn a_worker_sees_a_clear_error_and_recovers() {
    let _alone = alone();
    let home = weights_home();
    let binary = env!("CARGO_BIN_EXE_hearth");
    let server = Server::start(binary, &home, ENGINE);
    let address = server.base.trim_start_matches("http://").to_owned();
    let project = Project::new("current");
    let own = free_address();
    let port = own.port().to_string();
    let wrangler = project.package("wrangler/bin/wrangler.js");
    let mut running = project.dev(
        &["--listen", &address],
        &[&wrangler, "dev", "--ip", "127.0.0.1", "--port", &port],
    );
    assert_eq!(running.page(own, "/one").0, 200, "{}", running.output());

    drop(server); // as with kill -9
    let (status, text) = running.page(own, "/one");
    assert_eq!(status, 502, "{text}");
    assert!(text.contains("name") && text.contains("message"), "{text}");

    let _again = Server::start_at(binary, &home, &address, ENGINE);
    let (status, text) = running.page(own, "/one");
    assert_eq!(status, 200, "{text}");
}

/// `hearth dev` is killed with the server that it started; its command lives on.
#[test]
fn a_worker_outlives_hearth_dev_and_finds_the_next_server() {
    let _alone = alone();
    let project = Project::new("current");
    let (address, own) = (free_address().to_string(), free_address());
    let port = own.port().to_string();
    let wrangler = project.package("wrangler/bin/wrangler.js");
    let mut running = project.dev(
        &[&["--listen", address.as_str()], ENGINE].concat(),
        &[&wrangler, "dev", "--ip", "127.0.0.1", "--port", &port],
    );
    assert_eq!(running.page(own, "/one").0, 200, "{}", running.output());

    running.signal("-KILL");
    running.end();
    let (status, text) = get(own, "/one").unwrap();
    assert_eq!(status, 502, "{text}");
    assert!(text.contains("name") && text.contains("message"), "{text}");

    let (binary, home) = (env!("CARGO_BIN_EXE_hearth"), weights_home());
    let _again = Server::start_at(binary, &home, &address, ENGINE);
    let (status, text) = get(own, "/one").unwrap();
    assert_eq!(status, 200, "{text}");
}
