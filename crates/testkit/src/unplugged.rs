//! A network namespace with nothing but its own loopback: a machine without a network.

use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};

/// The file whose presence tells a test that it is inside.
const INSIDE: &str = "inside-a-namespace";
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

/// Runs the test `name` of this program once more, inside, where [`is_unplugged`] is true. It has to say `proof`.
pub fn unplugged(name: &str, proof: &str) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(INSIDE), "").unwrap();
    let way = way(folder.path());
    let program = std::env::current_exe().unwrap();
    let arguments = [program.to_str().unwrap(), "--exact", name, "--nocapture"];
    let output = run(way, &arguments, folder.path()).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains(proof),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn way(folder: &Path) -> &'static [&'static str] {
    let mut tried = String::new();
    let way = WAYS.into_iter().find(|way| {
        let (works, why) = match run(way, &["true"], folder) {
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
    way.unwrap_or_else(|| {
        panic!(
            "this machine lets nobody make a network namespace, without which this promise cannot be tested:\n{tried}\
             Allow user namespaces (sysctl kernel.apparmor_restrict_unprivileged_userns=0, \
             user.max_user_namespaces), or in a container start it with --cap-add SYS_ADMIN"
        )
    })
}

fn run(way: &[&str], arguments: &[&str], folder: &Path) -> std::io::Result<Output> {
    Command::new(way[0])
        .args(&way[1..])
        .args(arguments)
        .current_dir(folder)
        .output()
}

/// Whether this is the inside of [`unplugged`]; brings loopback up there, and shows that there is nothing else.
pub fn is_unplugged() -> bool {
    if !fs::exists(INSIDE).unwrap() {
        return false;
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
    let routes = fs::read_to_string("/proc/net/route").unwrap();
    assert_eq!(routes.lines().count(), 1);
    let devices = fs::read_to_string("/proc/net/dev").unwrap();
    let mut others = devices
        .lines()
        .skip(2)
        .filter(|line| !line.trim().starts_with("lo:"));
    assert!(others.all(is_down), "{devices}");
    let outside = TcpStream::connect("192.0.2.1:80").unwrap_err();
    assert_eq!(outside.kind(), ErrorKind::NetworkUnreachable);
    true
}

/// A device that the kernel puts into every namespace, such as `sit0`, and that carried nothing.
fn is_down(line: &str) -> bool {
    let numbers = line.split_once(':').map(|(_, numbers)| numbers);
    numbers.is_some_and(|numbers| numbers.split_whitespace().all(|number| number == "0"))
}
