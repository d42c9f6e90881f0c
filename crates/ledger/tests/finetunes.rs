//! Fine-tunes: their limits, and files that are looked into before they count.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use ledger::{
    ADAPTER_MAX_BYTES, Asset, CONFIG_MAX_BYTES, FINETUNES_MAX, Ledger, LedgerError, NewFinetune,
};

fn open(folder: &Path) -> Ledger {
    Ledger::open(folder).unwrap().ledger
}

fn new(name: &str) -> NewFinetune {
    NewFinetune {
        name: name.into(),
        model: "@cf/test/lora".into(),
        rank_max: 8,
        ..NewFinetune::default()
    }
}

fn create(ledger: &Ledger, new: &NewFinetune) -> Result<ledger::Finetune, LedgerError> {
    ledger.create_finetune(new, SystemTime::now())
}

fn put(ledger: &Ledger, name: &str, asset: Asset, bytes: &[u8]) -> Result<(), LedgerError> {
    let mut upload = ledger.upload(name)?;
    for piece in bytes.chunks(1000) {
        upload.write(piece)?;
    }
    upload.finish(asset, SystemTime::now())
}

fn config(model_type: &str, rank: u32) -> Vec<u8> {
    format!(r#"{{"r":{rank},"lora_alpha":16,"model_type":"{model_type}"}}"#).into_bytes()
}

/// A safetensors file with one tensor of bytes.
fn weights(name: &str, rank: usize) -> Vec<u8> {
    let header = format!(
        r#"{{"{name}":{{"dtype":"U8","shape":[{rank},4],"data_offsets":[0,{}]}}}}"#,
        rank * 4
    );
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    bytes.extend(vec![7; rank * 4]);
    bytes
}

const A: &str = "base_model.model.layers.0.self_attn.q_proj.lora_A.weight";

#[test]
fn a_fine_tune_is_complete_when_both_files_are_there_and_then_never_changes() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    let made = create(&ledger, &new("mine")).unwrap();
    assert!(!made.is_complete);
    put(&ledger, "mine", Asset::Config, &config("mistral", 8)).unwrap();
    assert!(!ledger.finetune("mine").unwrap().unwrap().is_complete);
    let file = weights(A, 8);
    put(
        &ledger,
        &made.id.to_string().to_uppercase(),
        Asset::Weights,
        &file,
    )
    .unwrap();
    let found = ledger.finetune(&made.id.to_string()).unwrap().unwrap();
    assert!(found.is_complete);
    assert!(found.modified_at >= found.created_at);
    assert_eq!(
        fs::read(ledger.asset_path(made.id, Asset::Weights)).unwrap(),
        file
    );
    let refused = put(&ledger, "mine", Asset::Config, &config("gemma", 4)).unwrap_err();
    assert!(
        matches!(refused, LedgerError::AlreadyUploaded { .. }),
        "{refused}"
    );
    drop(ledger);
    let ledger = open(folder.path());
    assert_eq!(ledger.finetunes().unwrap(), [found]);
    let kept = fs::read_dir(ledger.asset_path(made.id, Asset::Config).parent().unwrap()).unwrap();
    assert_eq!(kept.count(), 2, "nothing but the two files");
}

#[test]
fn names_are_bounded_unique_and_not_the_services_own() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    create(&ledger, &new("one")).unwrap();
    for (name, told) in [
        ("", "name is empty"),
        ("  ", "name is empty"),
        ("one", "there already"),
        ("cf-public-mine", "reserved"),
        ("a\nb", "control"),
        ("n".repeat(256).as_str(), "at most 255"),
    ] {
        let refused = create(&ledger, &new(name)).unwrap_err();
        assert!(refused.to_string().contains(told), "{name:?}: {refused}");
    }
    let long = NewFinetune {
        description: "d".repeat(5000),
        ..new("two")
    };
    assert!(create(&ledger, &long).is_err());
    for n in 1..FINETUNES_MAX {
        create(&ledger, &new(&format!("more {n}"))).unwrap();
    }
    let refused = create(&ledger, &new("one too many")).unwrap_err();
    assert!(refused.to_string().contains("100 fine-tunes"), "{refused}");
    assert!(matches!(
        ledger.upload("nobody"),
        Err(LedgerError::Unknown(_))
    ));
}

#[test]
fn configurations_are_looked_into() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    create(&ledger, &new("mine")).unwrap();
    let large = vec![b' '; CONFIG_MAX_BYTES as usize + 1];
    let pattern = br#"{"r":8,"model_type":"llama","rank_pattern":{"q_proj":64}}"#;
    for (bytes, told) in [
        (b"".to_vec(), "it is no JSON"),
        (b"{".to_vec(), "it is no JSON"),
        (b"[]".to_vec(), "model_type is nothing"),
        (b"{\"r\":8}".to_vec(), "model_type is nothing"),
        (config("qwen2", 8), "has to be one of mistral, gemma, llama"),
        (config("llama", 9), "this model takes 1 to 8"),
        (config("llama", 0), "this model takes 1 to 8"),
        (
            b"{\"r\":\"8\",\"model_type\":\"llama\"}".to_vec(),
            "no whole number",
        ),
        (pattern.to_vec(), "a rank of 64"),
        (large, "larger than"),
    ] {
        let refused = put(&ledger, "mine", Asset::Config, &bytes).unwrap_err();
        assert!(refused.to_string().contains(told), "{refused}");
    }
    for kind in ["mistral", "gemma", "llama"] {
        create(&ledger, &new(kind)).unwrap();
        put(&ledger, kind, Asset::Config, &config(kind, 8)).unwrap();
    }
}

#[test]
fn weights_are_looked_into() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    create(&ledger, &new("mine")).unwrap();
    let mut longer = weights(A, 8);
    longer.push(0);
    let mut shorter = weights(A, 8);
    shorter.pop();
    let bloated = [u64::MAX.to_le_bytes().as_slice(), b"{}"].concat();
    let cut = [9_u64.to_le_bytes().as_slice(), b"{}"].concat();
    for (bytes, told) in [
        (Vec::new(), "no safetensors file"),
        (b"PK\x03\x04".to_vec(), "no safetensors file"),
        (bloated, "a header of 18446744073709551615 bytes"),
        (cut, "a header of 9 bytes in 10"),
        (longer, "describes 32 bytes of tensors, and 33 follow"),
        (shorter, "describes 32 bytes of tensors, and 31 follow"),
        (weights(A, 9), "a rank of 9"),
        (weights("model.weight", 8), "no tensor of a LoRA adapter"),
    ] {
        let refused = put(&ledger, "mine", Asset::Weights, &bytes).unwrap_err();
        assert!(refused.to_string().contains(told), "{refused}");
    }
    let newer = NewFinetune {
        rank_max: 32,
        ..new("newer")
    };
    create(&ledger, &newer).unwrap();
    put(&ledger, "newer", Asset::Weights, &weights(A, 32)).unwrap();
}

#[test]
fn a_file_over_the_limit_ends_where_the_limit_is_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    let made = create(&ledger, &new("mine")).unwrap();
    let piece = vec![0; 10_000_000];
    let mut upload = ledger.upload("mine").unwrap();
    for _ in 0..ADAPTER_MAX_BYTES as usize / piece.len() {
        upload.write(&piece).unwrap();
    }
    let refused = upload.write(&[0]).unwrap_err();
    assert!(
        matches!(refused, LedgerError::FileTooLarge { .. }),
        "{refused}"
    );
    drop(upload);
    let place = ledger.asset_path(made.id, Asset::Weights);
    assert_eq!(fs::read_dir(place.parent().unwrap()).unwrap().count(), 0);
}

#[test]
fn what_an_upload_left_that_was_cut_off_is_removed_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    let made = create(&ledger, &new("mine")).unwrap();
    let mut upload = ledger.upload("mine").unwrap();
    upload.write(b"half").unwrap();
    let place = ledger.asset_path(made.id, Asset::Weights);
    let place = place.parent().unwrap();
    let left = place.join(".upload-left");
    fs::write(&left, "half").unwrap();
    drop((upload, ledger));
    open(folder.path());
    assert!(!left.exists());
    assert!(place.is_dir());
}
