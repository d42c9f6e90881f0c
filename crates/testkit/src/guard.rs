//! Ends what a test started when the test's own process ends, however that ends: a server in a `static` is never
//! dropped, and a test that is killed drops nothing.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Waits for the end of its standard input, which is the end of the test's process, and kills.
const WATCH: &str = "read -r _; kill -KILL \"$0\"";

/// Watches over a process or a group, until it is dropped.
pub struct Guard(Child);

impl Guard {
    /// Over a process.
    pub fn of_process(id: u32) -> Self {
        Self::over(&id.to_string())
    }

    /// Over a process group.
    pub fn of_group(id: u32) -> Self {
        Self::over(&format!("-{id}"))
    }

    fn over(target: &str) -> Self {
        // A file handle of the pipe that others inherited would keep it open; the library opens none such.
        let watcher = Command::new("sh")
            .args(["-c", WATCH, target])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0) // what is typed at a terminal does not end it before its time
            .spawn();
        Self(watcher.expect("a shell starts"))
    }
}

impl Drop for Guard {
    /// The process that was watched has been waited for: its id may be another's by now.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
