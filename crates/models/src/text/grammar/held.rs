//! A grammar where one answer stands in it, and the mask of its next token, which may be made beside the model's step.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use llguidance::Matcher;
use llguidance::toktrie::SimpleVob;
use tasks::Failure;

use super::first_line;

/// Masks that may wait to be made; what finds no place is made where it is needed.
const WAITING_MAX_MASKS: usize = 256;
/// Threads that make masks, at most: one for so many cores.
const MAKERS_MAX: usize = 4;
const CORES_FOR_A_MAKER: usize = 4;

/// A mask, or why there is none.
type Mask = Result<SimpleVob, String>;

/// A matcher on its way to its mask, and where both are waited for.
struct Work {
    matcher: Matcher,
    back: SyncSender<(Matcher, Mask)>,
}

/// Threads that make masks.
pub(super) struct Makers(SyncSender<Work>);

impl Makers {
    /// They end with this value. Without a single thread, masks are made where they are needed.
    pub(super) fn start() -> Option<Self> {
        let (sender, receiver) = sync_channel(WAITING_MAX_MASKS);
        let receiver = Arc::new(Mutex::new(receiver));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let makers = (cores / CORES_FOR_A_MAKER).clamp(1, MAKERS_MAX);
        let mut started = 0;
        for _ in 0..makers {
            let receiver = Arc::clone(&receiver);
            let thread = std::thread::Builder::new().name("masks".into());
            started += usize::from(thread.spawn(move || make(&receiver)).is_ok());
        }
        (started > 0).then_some(Self(sender))
    }
}

fn make(receiver: &Mutex<Receiver<Work>>) {
    loop {
        let next = receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(Work { mut matcher, back }) = next else {
            return;
        };
        let mask = compute(&mut matcher);
        // Whoever waited may have left.
        let _ = back.send((matcher, mask));
    }
}

fn compute(matcher: &mut Matcher) -> Mask {
    // The library catches its own panics, and says so.
    let mask = matcher.compute_mask_or_eos();
    mask.map_err(|error| first_line(&error.to_string()))
}

/// Where the matcher is.
enum Place {
    Here(Box<Matcher>),
    /// At a maker of masks.
    Away(Receiver<(Matcher, Mask)>),
    Lost,
}

/// A grammar where one answer stands in it.
pub(super) struct Held {
    place: Place,
    /// Of the next token, where it is known.
    mask: Option<Mask>,
}

impl Held {
    pub(super) fn of(matcher: Matcher, mask: Option<SimpleVob>) -> Self {
        Self {
            place: Place::Here(Box::new(matcher)),
            mask: mask.map(Ok),
        }
    }

    /// Goes on by a token.
    ///
    /// # Errors
    /// [`Failure::JsonModeUnmet`] for a token that the grammar does not allow.
    pub(super) fn take(&mut self, token: u32) -> Result<(), Failure> {
        let matcher = self.matcher()?;
        let taken = matcher.consume_token(token);
        self.mask = None;
        taken.map_err(|error| Failure::JsonModeUnmet(first_line(&error.to_string())))
    }

    /// Nothing more may come.
    pub(super) fn is_over(&self) -> bool {
        matches!(&self.place, Place::Here(matcher) if matcher.is_stopped())
    }

    /// Has the next mask made.
    pub(super) fn make_ahead(&mut self, makers: &Makers) {
        if self.mask.is_some() {
            return;
        }
        self.place = match std::mem::replace(&mut self.place, Place::Lost) {
            Place::Here(matcher) => {
                let (back, here) = sync_channel(1);
                let work = Work {
                    matcher: *matcher,
                    back,
                };
                match makers.0.try_send(work) {
                    Ok(()) => Place::Away(here),
                    Err(TrySendError::Full(work) | TrySendError::Disconnected(work)) => {
                        Place::Here(Box::new(work.matcher))
                    }
                }
            }
            place => place,
        };
    }

    /// The tokens that may come next.
    ///
    /// # Errors
    /// [`Failure::JsonModeUnmet`] where there is none, or it is too much work to say.
    pub(super) fn mask(&mut self) -> Result<&SimpleVob, Failure> {
        self.matcher()?; // with it comes its mask
        if self.mask.is_none() {
            let mask = compute(self.matcher()?);
            self.mask = Some(mask);
        }
        match &self.mask {
            Some(Ok(mask)) => Ok(mask),
            Some(Err(why)) => Err(Failure::JsonModeUnmet(why.clone())),
            None => Err(lost()),
        }
    }

    fn matcher(&mut self) -> Result<&mut Matcher, Failure> {
        if let Place::Away(here) = &self.place {
            let (matcher, mask) = here.recv().map_err(|_| lost())?;
            self.place = Place::Here(Box::new(matcher));
            self.mask = Some(mask);
        }
        match &mut self.place {
            Place::Here(matcher) => Ok(matcher.as_mut()),
            Place::Away(_) | Place::Lost => Err(lost()),
        }
    }
}

fn lost() -> Failure {
    Failure::Internal("a grammar was lost".into())
}
