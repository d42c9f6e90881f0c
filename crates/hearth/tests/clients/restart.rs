//! A server that goes away while a client runs, and comes back.

use testkit::{Server, weights_home};

use crate::ENGINE;
use crate::project::{Project, alone, free_address};

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
