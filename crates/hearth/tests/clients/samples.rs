//! The samples of the Workers AI documentation, with real weights, on a machine without a network.

use std::path::Path;

use testkit::{is_unplugged, unplugged, weights};

use crate::project::{Project, alone, free_address};

const CHILD: &str = "samples::child_runs_the_samples_without_a_network";
const PROOF: &str = "the samples ran without a network";

#[test]
fn the_samples_run_without_a_network() {
    let _alone = alone();
    for set in ["smollm2-135m-instruct", "all-minilm-l6-v2"] {
        weights(set);
    }
    Project::of("current", "samples"); // installs
    unplugged(CHILD, PROOF);
}

/// The child's part. Run by itself it is outside and has nothing to do; the test above starts it inside.
#[test]
fn child_runs_the_samples_without_a_network() {
    if !is_unplugged() {
        return;
    }
    let project = Project::of("current", "samples");
    let options = ["--listen", "127.0.0.1:0"];
    let npx = Path::new("npx");
    let own = free_address();
    let port = own.port().to_string();
    let wrangler = ["wrangler", "dev", "--ip", "127.0.0.1", "--port", &port];
    let mut running = project.dev_with(&options, npx, &wrangler);
    let mut ask = |path: &str| {
        let (status, text) = running.page(own, path);
        assert_eq!(status, 200, "{text}{}", running.output());
        text
    };
    let chat: serde_json::Value = serde_json::from_str(&ask("/chat")).unwrap();
    assert!(!chat["response"].as_str().unwrap().is_empty(), "{chat}");
    assert!(!chat.to_string().contains("stub"), "a model wrote {chat}");
    let vector: Vec<f64> = serde_json::from_str(&ask("/embeddings")).unwrap();
    assert_eq!(vector.len(), 768);
    let stream = ask("/stream");
    assert!(stream.ends_with("data: [DONE]\n\n"), "{stream}");
    drop(running);

    let mut tests = project.dev_with(&options, npx, &["vitest", "run"]);
    let status = tests.end();
    assert!(status.success(), "{}", tests.output());
    let three = |output: &str| output.contains("3 passed").then_some(());
    tests.until("three tests", three);
    println!("{PROOF}");
}
