//! A pipeline as a model of the engine: orders in, steps and pictures out.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use engine::model::{Said, SequenceId, SessionModel};
use tasks::{Failure, Paint, PaintEvent, Picture};

use super::companion::Order;
use super::memory::Memory;
use super::noise::Normals;
use super::pipeline::{Painting, Pipeline, Size, Stroke};
use super::source::broken;
use super::turns::{Seat, Stage, Work, next};

/// Pictures whose steps go through the layers of a device in one pass: a few keep it busy, and a turn stays
/// short.
const PICTURES_TOGETHER: usize = 4;
/// Pictures that may be live at once where they share passes: a pass is full while others of another size are
/// painted.
const PICTURES_LIVE: usize = 8;

/// A model that paints.
pub struct Painter<P: Pipeline> {
    pipeline: P,
    memory: Memory,
    /// The most pictures in one pass.
    together: usize,
    live: BTreeMap<SequenceId, Live<P::Painting>>,
    /// Turns that were taken.
    turns: u64,
}

/// A picture that is being painted.
struct Live<P> {
    size: Size,
    /// Latents of a side of the tiles that it is decoded by, where it is.
    tile: Option<usize>,
    normals: Normals,
    state: State<P>,
    /// Pictures of its size that fit in a pass.
    fit: usize,
    /// The turn in which it was served last, or came.
    served: u64,
}

enum State<P> {
    Ordered(Order),
    Begun(P),
}

impl<P: Painting> Live<P> {
    fn stage(&self) -> Stage {
        match &self.state {
            State::Ordered(_) => Stage::Ordered,
            State::Begun(painting) if painting.course().is_over() => Stage::Painted,
            State::Begun(_) => Stage::Begun,
        }
    }
}

/// Pictures in one pass, at most. On a CPU one picture is painted after the other: the rows of one keep its cores
/// busy, and the first would only wait for the second.
fn together_on(device: &Device) -> usize {
    if device.is_cpu() {
        1
    } else {
        PICTURES_TOGETHER
    }
}

fn live(together: usize) -> usize {
    match together {
        1 => 1,
        _ => PICTURES_LIVE,
    }
}

/// Pictures that may be live at once on a device.
pub(super) fn live_on(device: &Device) -> usize {
    live(together_on(device))
}

type Heard = Vec<(SequenceId, Said<PaintEvent>)>;

impl<P: Pipeline> Painter<P> {
    pub(super) fn new(pipeline: P, memory: Memory) -> Self {
        Self {
            together: together_on(pipeline.device()),
            pipeline,
            memory,
            live: BTreeMap::new(),
            turns: 0,
        }
    }

    /// The same with up to so many pictures in one pass, whatever the device is; 0 is taken for 1.
    #[must_use]
    pub fn with_together(mut self, pictures: usize) -> Self {
        self.together = pictures.max(1);
        self
    }

    /// Prompts, and what is given to begin with.
    fn start(&mut self, id: SequenceId) -> Result<(), Failure> {
        let Some(live) = self.live.get_mut(&id) else {
            return Ok(());
        };
        let State::Ordered(order) = &live.state else {
            return Ok(());
        };
        let shape = self.pipeline.latent_shape(live.size);
        let device = self.pipeline.device();
        let mut noise = || live.normals.tensor(&shape, device);
        live.state = State::Begun(self.pipeline.begin(order, &mut noise)?);
        Ok(())
    }

    /// A step of each, in one pass.
    fn step(&mut self, ids: &[SequenceId]) -> Heard {
        let Self { pipeline, live, .. } = self;
        let (mut paintings, mut noises) = (Vec::new(), Vec::new());
        for (id, live) in live.iter_mut() {
            if let (State::Begun(painting), true) = (&mut live.state, ids.contains(id)) {
                let shape = pipeline.latent_shape(live.size);
                let (normals, device) = (&mut live.normals, pipeline.device());
                paintings.push(painting);
                noises.push(move || normals.tensor(&shape, device));
            }
        }
        let strokes = paintings.into_iter().zip(&mut noises);
        let mut strokes: Vec<_> = strokes
            .map(|(painting, noise)| Stroke { painting, noise })
            .collect();
        let done = |stroke: &Stroke<'_, P::Painting>| stroke.painting.course().done();
        let before: Vec<_> = strokes.iter().map(done).collect();
        let stepped = pipeline.step(&mut strokes);
        let mut said = Vec::new();
        for ((id, stroke), before) in ids.iter().zip(&mut strokes).zip(before) {
            let mut outcome = stepped.clone();
            // A pass of several may fail where one alone does not, above all for its memory.
            if outcome.is_err() && ids.len() > 1 && done(stroke) == before {
                outcome = pipeline.step(std::slice::from_mut(stroke));
            }
            said.push(match outcome {
                Ok(()) => (*id, Said::Event(PaintEvent::Step(done(stroke) as u32))),
                Err(failure) => (*id, Said::Failed(failure)),
            });
        }
        said
    }

    fn decode(&self, id: SequenceId) -> Result<Option<Picture>, Failure> {
        let Some(Live { state, tile, .. }) = self.live.get(&id) else {
            return Ok(None);
        };
        let State::Begun(painting) = state else {
            return Ok(None);
        };
        let pixels = self.pipeline.pixels(painting, *tile)?;
        picture(&pixels).map(Some).map_err(broken)
    }
}

impl<P: Pipeline> SessionModel<Paint> for Painter<P> {
    type Work = Order;

    fn sessions(&self) -> usize {
        live(self.together)
    }

    fn begin(&mut self, id: SequenceId, order: Order) -> Result<(), Failure> {
        let normals = order.request.seed.map_or_else(Normals::any, Normals::new);
        let live = Live {
            size: order.size,
            tile: order.tile,
            normals,
            fit: self.memory.together(order.size, self.together),
            state: State::Ordered(order),
            served: self.turns,
        };
        self.live.insert(id, live);
        Ok(())
    }

    /// One picture is begun or decoded, or some take a step in one pass.
    fn turn(&mut self) -> Heard {
        let seats = self.live.iter().map(|(id, live)| Seat {
            id: *id,
            size: live.size,
            stage: live.stage(),
            fit: live.fit,
            served: live.served,
        });
        let Some(work) = next(&seats.collect::<Vec<_>>()) else {
            return Vec::new();
        };
        self.turns += 1;
        let ids = match &work {
            Work::Begin(id) | Work::Decode(id) => std::slice::from_ref(id),
            Work::Step(ids) => ids,
        };
        for id in ids {
            if let Some(live) = self.live.get_mut(id) {
                live.served = self.turns;
            }
        }
        match work {
            Work::Begin(id) => match self.start(id) {
                Ok(()) => Vec::new(),
                Err(failure) => vec![(id, Said::Failed(failure))],
            },
            Work::Step(ids) => self.step(&ids),
            Work::Decode(id) => match self.decode(id) {
                Ok(picture) => {
                    let done = picture.map(|picture| Said::Event(PaintEvent::Done(picture)));
                    let said = done.into_iter().chain([Said::End]);
                    said.map(|said| (id, said)).collect()
                }
                Err(failure) => vec![(id, Said::Failed(failure))],
            },
        }
    }

    fn end(&mut self, id: SequenceId) {
        self.live.remove(&id);
    }
}

/// `[1, 3, height, width]` in about -1 to 1 as bytes.
fn picture(pixels: &Tensor) -> candle_core::Result<Picture> {
    let pixels = ((pixels.to_dtype(DType::F32)? + 1.0)? * 127.5)?;
    let pixels = pixels.clamp(0f32, 255f32)?.round()?.squeeze(0)?;
    let (_, height, width) = pixels.dims3()?;
    let rows = pixels.permute((1, 2, 0))?.flatten_all()?.to_vec1::<f32>()?;
    Ok(Picture {
        width: width as u32,
        height: height as u32,
        rgb: rows.into_iter().map(|number| number as u8).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::pipeline::Course;
    use super::super::scheduler::{Noise, SchedulerConfig, sampler};
    use super::*;
    use crate::fit::Fit;
    use crate::load::Files;
    use tasks::PaintRequest;

    /// Paints noise; a pass with a prompt `break` in it fails.
    struct Frail;

    struct Prompted {
        course: Course,
        breaks: bool,
    }

    impl Painting for Prompted {
        fn course(&self) -> &Course {
            &self.course
        }
    }

    impl Pipeline for Frail {
        type Painting = Prompted;

        fn device(&self) -> &Device {
            &Device::Cpu
        }

        fn latent_shape(&self, (width, height): (u32, u32)) -> [usize; 4] {
            [1, 3, height as usize, width as usize]
        }

        fn begin(&self, order: &Order, noise: &mut Noise<'_>) -> Result<Prompted, Failure> {
            let sampler = sampler(&SchedulerConfig::of_flux(), order.steps, 0)?;
            Ok(Prompted {
                course: Course::new(sampler, noise().map_err(broken)?, 0),
                breaks: order.request.prompt == "break",
            })
        }

        fn step(&self, strokes: &mut [Stroke<'_, Prompted>]) -> Result<(), Failure> {
            if strokes.iter().any(|stroke| stroke.painting.breaks) {
                return Err(Failure::Internal("broken".into()));
            }
            for Stroke { painting, noise } in strokes {
                let said = painting.course.latents().zeros_like().map_err(broken)?;
                painting.course.take(&said, *noise).map_err(broken)?;
            }
            Ok(())
        }

        fn pixels(&self, painting: &Prompted, _: Option<usize>) -> Result<Tensor, Failure> {
            Ok(painting.course.latents().clone())
        }
    }

    fn order(prompt: &str, side: u32) -> Order {
        let request = PaintRequest {
            prompt: prompt.into(),
            negative_prompt: None,
            width: None,
            height: None,
            steps: 3,
            guidance: None,
            strength: 1.0,
            seed: Some(1),
            images: Vec::new(),
            mask: None,
        };
        Order {
            request,
            size: (side, side),
            steps: 3,
            tile: None,
        }
    }

    #[test]
    fn a_failed_pass_fails_those_that_fail_alone() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/tiny-sd15");
        let files = Files::new(folder.into());
        let memory = Memory::stable(&files, &Device::Cpu, Fit::default()).expect("a memory");
        let mut painter = Painter::new(Frail, memory).with_together(4);
        for (id, prompt, side) in [(1, "a", 8), (2, "break", 8), (3, "b", 16), (4, "c", 8)] {
            let begun = painter.begin(SequenceId(id), order(prompt, side));
            begun.expect("a place");
        }
        let (mut failed, mut painted) = (Vec::new(), Vec::new());
        for _ in 0..40 {
            for (id, said) in painter.turn() {
                match said {
                    Said::Event(PaintEvent::Done(picture)) => {
                        painted.push((id.0, picture.width));
                    }
                    Said::Event(PaintEvent::Step(_)) => {}
                    Said::End => painter.end(id),
                    Said::Failed(failure) => {
                        assert_eq!(failure, Failure::Internal("broken".into()));
                        failed.push(id.0);
                        painter.end(id);
                    }
                }
            }
        }
        assert_eq!(failed, [2]);
        assert_eq!(painted, [(1, 8), (4, 8), (3, 16)]);
        assert!(painter.live.is_empty());
    }
}
