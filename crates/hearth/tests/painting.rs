//! Painting with real weights: a user's own tiny checkpoint, named in hearth.toml, answers over HTTP.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::fmt::Write as _;
use std::io::Cursor;
use std::path::Path;

use base64::Engine;
use serde_json::{Value, json};
use testkit::{Answer, Server, golden};

const SD: &str = "@cf/runwayml/stable-diffusion-v1-5-img2img";
const INPAINTING: &str = "@cf/runwayml/stable-diffusion-v1-5-inpainting";
const XL: &str = "@cf/stabilityai/stable-diffusion-xl-base-1.0";
const LIGHTNING: &str = "@cf/bytedance/stable-diffusion-xl-lightning";
const FLUX: &str = "@cf/black-forest-labs/flux-1-schnell";

/// A server whose hearth.toml names the tiny checkpoints.
fn serve(home: &Path, arguments: &[&str]) -> Server {
    let nine = home.join("inpainting");
    copy(&golden("tiny-sd15"), &nine);
    copy(&golden("tiny-sd15-inpainting"), &nine);
    let mut config = String::new();
    for (name, model, architecture, path) in [
        ("my-sd", SD, "stable-diffusion", golden("tiny-sd15")),
        ("my-inpainting", INPAINTING, "stable-diffusion", nine),
        ("my-xl", XL, "stable-diffusion", golden("tiny-sdxl")),
        (
            "my-lightning",
            LIGHTNING,
            "stable-diffusion-lightning",
            golden("tiny-sdxl"),
        ),
        ("my-flux", FLUX, "flux", golden("tiny-flux-schnell")),
    ] {
        let path = json!(path.canonicalize().unwrap());
        writeln!(
            config,
            "[weights.{name}]\narchitecture = \"{architecture}\"\npath = {path}\n[model.\"{model}\"]\nvariants = [{{ weights = \"{name}\", grade = \"twin\" }}]"
        )
        .unwrap();
    }
    let file = home.join("hearth.toml");
    std::fs::write(&file, config).unwrap();
    let file = file.to_str().unwrap();
    let mut all = vec!["--offline", "--config", file];
    all.extend(arguments);
    Server::start(env!("CARGO_BIN_EXE_hearth"), home, &all)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Width and height of a PNG file.
fn png_size(file: &[u8]) -> (u32, u32) {
    assert_eq!(&file[..8], b"\x89PNG\r\n\x1a\n");
    let side = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().unwrap());
    (side(16), side(20))
}

fn png(answer: &Answer) -> (u32, u32) {
    assert_eq!(
        answer.status,
        200,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    assert_eq!(answer.header("content-type"), Some("image/png"));
    png_size(&answer.body)
}

/// A PNG file of one colour.
fn plain(width: u32, height: u32, grey: u8) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Grayscale);
    let mut writer = encoder.write_header().unwrap();
    writer
        .write_image_data(&vec![grey; (width * height) as usize])
        .unwrap();
    writer.finish().unwrap();
    file.into_inner()
}

fn base64(file: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(file)
}

#[test]
fn a_checkpoint_of_the_users_own_paints() {
    let home = tempfile::tempdir().unwrap();
    let server = serve(home.path(), &[]);
    let ask = json!({"prompt": "a fox", "num_steps": 2, "seed": 7});
    let first = server.run(SD, &ask);
    assert_eq!(png(&first), (64, 64), "the model's own size");
    assert_eq!(first.header("hearth-model"), Some("my-sd; grade=twin"));
    assert_eq!(server.run(SD, &ask).body, first.body, "a seed is a picture");
    let with = |name: &str, value: Value| {
        let mut ask = ask.clone();
        ask[name] = value;
        server.run(SD, &ask)
    };
    for (name, value) in [
        ("seed", json!(8)),
        ("prompt", json!("a horse")),
        ("negative_prompt", json!("a moon")),
        ("guidance", json!(2)),
        ("num_steps", json!(3)),
        ("image_b64", json!(base64(&plain(64, 64, 200)))),
    ] {
        let other = with(name, value);
        assert_eq!(png(&other), (64, 64), "{name}");
        assert_ne!(other.body, first.body, "{name} changes the picture");
    }
    let wide = json!({"prompt": "a fox", "num_steps": 1, "width": 320, "height": 256});
    assert_eq!(png(&server.run(SD, &wide)), (320, 256));

    assert_eq!(png(&server.run(XL, &ask)), (64, 64));
    assert_eq!(png(&server.run(LIGHTNING, &ask)), (64, 64));
    let loaded = server.get("/hearth/ps").json();
    assert_eq!(loaded["models"].as_array().unwrap().len(), 3, "{loaded}");
}

#[test]
fn masks_are_painted_within_and_bad_files_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let server = serve(home.path(), &[]);
    let image = json!(plain(64, 64, 90));
    // Half as large as the picture.
    let mask = json!(plain(32, 32, 255));
    let ask = json!({"prompt": "a fox", "num_steps": 2, "image": image, "mask": mask});
    assert_eq!(png(&server.run(INPAINTING, &ask)), (64, 64));
    assert_eq!(png(&server.run(SD, &ask)), (64, 64));
    let refused = |ask: Value| {
        let answer = server.run(INPAINTING, &ask);
        assert_eq!(answer.status, 400, "{}", answer.text());
        answer.text()
    };
    refused(json!({"prompt": "a fox", "num_steps": 2}));
    refused(json!({"prompt": "a fox", "num_steps": 2, "mask": mask}));
    refused(json!({"prompt": "a fox", "width": 257}));
    refused(json!({"prompt": "a fox", "num_steps": 21}));
    let mut huge = plain(8, 8, 0);
    huge[16..24].copy_from_slice(&[0, 0, 255, 255, 0, 0, 255, 255]); // 65535 by 65535
    let mut animated = b"GIF89a\x40\0\x40\0\x80\0\0\0\0\0\xff\xff\xff".to_vec();
    for _ in 0..20_000 {
        animated.extend(b"!\xf9\x04\0\x01\0\0\0,\0\0\0\0\x40\0\x40\0\0\x02\x02\x44\x01\0");
    }
    animated.push(b';');
    let half = plain(64, 64, 0)[..60].to_vec();
    for file in [huge, animated, half, b"no picture".to_vec()] {
        refused(json!({"prompt": "a fox", "image_b64": base64(&file), "mask": mask}));
    }
    assert!(server.resident_bytes() < 2 << 30);
}

#[test]
fn flux_answers_with_a_jpeg_in_json() {
    let home = tempfile::tempdir().unwrap();
    let server = serve(home.path(), &[]);
    let answer = server
        .run(FLUX, &json!({"prompt": "a fox", "steps": 1}))
        .json();
    let image = answer["result"]["image"].as_str().unwrap();
    let file = base64::engine::general_purpose::STANDARD
        .decode(image)
        .unwrap();
    assert_eq!(&file[..3], b"\xff\xd8\xff");
}

#[test]
fn what_does_not_fit_is_refused_with_numbers() {
    let home = tempfile::tempdir().unwrap();
    let server = serve(home.path(), &["--memory", "100MB"]);
    let small = json!({"prompt": "a fox", "num_steps": 1});
    let answer = server.run(SD, &small);
    assert_eq!(png(&answer), (64, 64));
    let large = json!({"prompt": "a fox", "num_steps": 1, "width": 2048, "height": 2048});
    let refused = server.run(SD, &large);
    assert_eq!(
        refused.status,
        503,
        "{}",
        String::from_utf8_lossy(&refused.body)
    );
    assert!(refused.text().contains("2048x2048"), "{}", refused.text());
    let home = tempfile::tempdir().unwrap();
    let server = serve(home.path(), &["--memory", "1MB"]);
    let refused = server.run(SD, &small);
    assert_eq!(
        refused.status,
        503,
        "{}",
        String::from_utf8_lossy(&refused.body)
    );
    assert!(refused.text().contains("activations"), "{}", refused.text());
}
