//! `finetunes/{id}/finetune-assets`: a file of a fine-tune as a multipart form, written to disk as it comes.

use std::future::Future;
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use ledger::{ADAPTER_MAX_BYTES, Asset, Ledger, LedgerError, Upload};
use multer::{Constraints, Field, Multipart, SizeLimit};
use serde::Serialize;
use tasks::Failure;
use tokio::sync::mpsc;

use super::envelope::{Declined, success_first};
use super::finetunes::{ledger, on_disk};
use crate::App;
use crate::layers::body::STALL_TIMEOUT;

/// The most bytes of the field `file_name`.
const NAME_MAX_BYTES: u64 = 1024;
/// What the form may have beside the file.
const FORM_MAX_BYTES: u64 = 64 * 1024;
/// Pieces of the file that may wait for the disk.
const PIECES_MAX: usize = 8;

/// The handler. The two fields come in any order.
pub(crate) async fn asset(
    State(app): State<Arc<App>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<Response, Declined> {
    #[derive(Serialize)]
    struct Stored {
        finetune_id: String,
        file_name: &'static str,
    }
    let Ok(Path((_account, name))) = path else {
        return Err(Declined::not_found());
    };
    let ledger = ledger(&app)?;
    let finetune = {
        let (ledger, name) = (ledger.clone(), name.clone());
        on_disk(move || ledger.finetune(&name)).await?
    };
    let id = finetune.ok_or_else(Declined::not_found)?.id.to_string();
    let mut form = open(request)?;
    let (mut file_name, mut upload) = (None, None);
    while let Some(field) = patient(form.next_field()).await? {
        match field.name() {
            Some("file_name") if file_name.is_none() => {
                file_name = Some(patient(field.text()).await?);
            }
            Some("file") if upload.is_none() => {
                upload = Some(store(&ledger, &id, field).await?);
            }
            Some(twice @ ("file_name" | "file")) => {
                return Err(Declined::invalid(format_args!("{twice} is there twice")));
            }
            _ => {} // skipped, within the form's limit
        }
    }
    let file_name = file_name.ok_or_else(|| Declined::invalid("file_name is missing"))?;
    let upload = upload.ok_or_else(|| Declined::invalid("file is missing"))?;
    let asset = Asset::named(&file_name).ok_or_else(|| {
        let names = [Asset::Config, Asset::Weights].map(Asset::file_name);
        Declined::invalid(format_args!(
            "file_name has to be {} or {}",
            names[0], names[1]
        ))
    })?;
    on_disk(move || upload.finish(asset, SystemTime::now())).await?;
    Ok(success_first(&Stored {
        finetune_id: id,
        file_name: asset.file_name(),
    }))
}

fn open(request: Request) -> Result<Multipart<'static>, Declined> {
    let (parts, body) = request.into_parts();
    let kind = parts
        .headers
        .get(header::CONTENT_TYPE)
        .map(HeaderValue::to_str);
    let boundary = match kind {
        Some(Ok(kind)) => multer::parse_boundary(kind).ok(),
        _ => None,
    };
    let boundary = boundary.ok_or_else(|| {
        Declined::invalid("the content type is no multipart/form-data with a boundary")
    })?;
    let sizes = SizeLimit::new()
        .whole_stream(ADAPTER_MAX_BYTES + FORM_MAX_BYTES)
        .for_field("file_name", NAME_MAX_BYTES);
    let constraints = Constraints::new().size_limit(sizes);
    Ok(Multipart::with_constraints(
        body.into_data_stream(),
        boundary,
        constraints,
    ))
}

/// Writes the file on a thread that may wait for the disk; the client is read no faster than that.
async fn store(ledger: &Ledger, id: &str, mut field: Field<'_>) -> Result<Upload, Declined> {
    let (pieces, mut coming) = mpsc::channel::<Bytes>(PIECES_MAX);
    let (ledger, id) = (ledger.clone(), id.to_owned());
    let writing = tokio::task::spawn_blocking(move || {
        let mut upload = ledger.upload(&id)?;
        while let Some(piece) = coming.blocking_recv() {
            upload.write(&piece)?;
        }
        Ok::<_, LedgerError>(upload)
    });
    while let Some(piece) = patient(field.chunk()).await? {
        if pieces.send(piece).await.is_err() {
            break; // the writer has given up, and says why
        }
    }
    drop(pieces);
    match writing.await {
        Ok(upload) => Ok(upload?),
        Err(error) => Err(Declined::unavailable(format!("the ledger: {error}"))),
    }
}

/// Waits for the next piece of the form.
async fn patient<T>(next: impl Future<Output = Result<T, multer::Error>>) -> Result<T, Declined> {
    match tokio::time::timeout(STALL_TIMEOUT, next).await {
        Ok(Ok(next)) => Ok(next),
        Ok(Err(
            error @ (multer::Error::StreamSizeExceeded { .. }
            | multer::Error::FieldSizeExceeded { .. }),
        )) => Err(Declined::too_large(error)),
        Ok(Err(error)) => Err(Declined::invalid(format_args!("the form: {error}"))),
        Err(_) => Err(Failure::Aborted.into()),
    }
}
