//! An adapter's files, by the name or id that a request has.

use catalog::ModelCard;
use ledger::{Asset, RESERVED_PREFIX};
use tasks::{Failure, Lora};

use crate::App;
use crate::blocking::blocking;
use crate::errors::Refusal;

/// Fills in where the files of an adapter are; the service's own have none here.
///
/// # Errors
/// [`Refusal::NoFinetune`] for one that is not here or not whole; [`Failure::Unsupported`] for one of another model.
pub(super) async fn find(app: &App, card: &ModelCard, lora: &mut Lora) -> Result<(), Refusal> {
    if lora.name.starts_with(RESERVED_PREFIX) {
        return Ok(());
    }
    let ledger = app.settings.ledger.clone().ok_or(Refusal::NoFinetune)?;
    let name = lora.name.clone();
    let look = move || match ledger.finetune(&name) {
        Ok(found) => Ok(found.map(|found| (ledger.asset_path(found.id, Asset::Weights), found))),
        Err(error) => Err(Failure::Internal(error.to_string())),
    };
    let found = blocking("the ledger", look).await?;
    let Some((weights, finetune)) = found.filter(|(_, finetune)| finetune.is_complete) else {
        return Err(Refusal::NoFinetune);
    };
    if finetune.model != card.name {
        return Err(Failure::Unsupported(format!(
            "the adapter {} is of the model {}, not of {}",
            lora.name, finetune.model, card.name
        ))
        .into());
    }
    lora.folder = weights.parent().map(Into::into);
    Ok(())
}
