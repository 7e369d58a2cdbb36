//! One step: what its trials start from, which they are, and what comes of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use net2net_core::io::Checkpoint;
use net2net_core::request::{Request, request};
use serde_json::json;

use super::error::EvolveError;
use super::grow;
use super::home::{Home, NETWORK};
use super::judge::{Cost, Verdict, bootstrap, correct, scores, verdict};
use super::run::Options;
use super::samples::{Chosen, MIXTURE_FILE, choose, lay_out};
use super::spec::{EvolveSpec, least_epochs};
use super::store::{
    GrowthRecord, Judgement, NewDecision, NewVersion, Settled, Step, Version, VersionRecord, fact,
};
use super::trials::{SPEC_FILE, Trial, sound};
use crate::compare::{DataSpec, Stated};
use crate::data::{Dataset, Mixture, Normalization, Share};
use crate::explore::{Watcher, context};
use crate::train::{MODEL_FILE, Recipe, TRUNK_FILE, TrainingData};
use crate::trial::{
    ONNX_FILE, TrialError, TrialResult, TrialSpec, classes_of, latency_ms, write_onnx,
};

/// The trial that makes the release and the next trunk.
const RELEASE: &str = "release";

/// A step under way.
pub(super) struct Work<'a> {
    pub(super) home: &'a Home,
    pub(super) options: &'a Options,
    pub(super) spec: EvolveSpec,
    pub(super) step: Step,
    pub(super) threads: usize,
    pub(super) stop: &'a AtomicBool,
    pub(super) watcher: &'a mut dyn Watcher,
    /// Where its files are, within the home.
    pub(super) folder: PathBuf,
    /// What all trials of the step cost so far: seconds and FLOPs.
    pub(super) spent: (f64, f64),
}

/// What trials of a step start from.
pub(super) struct Trunk {
    /// The file; none where the first network is an architecture.
    pub(super) file: Option<PathBuf>,
    /// Plans that every trial begins with: those for new classes. Their names and contents.
    pub(super) plans: Vec<(String, Vec<u8>)>,
    /// The network after these plans.
    pub(super) network: Option<Checkpoint>,
    /// Whether the optimizer's moments mean something to this step's recipe.
    pub(super) keep_moments: bool,
}

impl<'a> Work<'a> {
    pub(super) fn new(
        home: &'a Home,
        options: &'a Options,
        step: Step,
        stop: &'a AtomicBool,
        watcher: &'a mut dyn Watcher,
    ) -> Result<Work<'a>, EvolveError> {
        let spec = home.settings(&step.settings)?;
        Ok(Work {
            threads: spec.threads.map_or_else(|| home.threads(), Ok)?,
            spec,
            folder: folder_of(home, step.id),
            home,
            options,
            step,
            stop,
            watcher,
            spent: (0.0, 0.0),
        })
    }

    /// Does the step; `None` if it was interrupted.
    pub(super) fn run(mut self) -> Result<Option<Settled>, EvolveError> {
        let chosen = choose(self.home, &self.spec, &self.step)?;
        if let Some(start) = adopted(self.home, &self.step)? {
            return self.adopt(&start, chosen).map(Some);
        }
        self.lengthen(chosen.new_samples + chosen.replayed);
        let list = self.keep_list(&chosen.mixture)?;
        let data = self.folder.join("data");
        lay_out(self.home, &chosen.mixture, &chosen.judges, &list, &data)?;
        self.watcher.note(&format!(
            "step {}: {} new and {} old training images, {} classes",
            self.step.id,
            chosen.new_samples,
            chosen.replayed,
            chosen.mixture.classes.len()
        ));
        let trunk = self.trunk(&chosen.mixture.classes)?;
        let Some(grown) = grow::decide(&mut self, &trunk)? else {
            return Ok(None);
        };
        let (recipe, from, plans) = match &grown.from {
            Some(from) => (self.shortened(), Some(from.as_path()), &[][..]),
            None => (
                self.recipe().clone(),
                trunk.file.as_deref(),
                &trunk.plans[..],
            ),
        };
        let release = Trial {
            id: RELEASE.to_owned(),
            from,
            plans,
            recipe: &recipe,
            keep_moments: grown.from.is_some() || trunk.keep_moments,
            begins_the_step: grown.from.is_none(),
            threads: self.threads,
        };
        let Some(outcome) = self.one(&release)? else {
            return Ok(None);
        };
        let mut decisions = grown.decisions;
        let result = match sound(&outcome) {
            Ok(result) => result,
            Err(why) => {
                decisions.push(self.no_version(&why));
                let mut settled = self.settled(None, decisions, false, false, "failed", &why);
                settled.event.1["samples"] = json!(list);
                return Ok(Some(settled));
            }
        };
        self.watcher.note(&format!(
            "step {}: trained to {:.2} % of the images for selection",
            self.step.id,
            100.0 * result.accuracy.unwrap_or(0.0)
        ));
        let mut steps = trunk.plans.clone();
        steps.extend(grown.plan);
        let classes = chosen.mixture.classes.clone();
        let version = self.version(&result, chosen, list, &steps, grown.record)?;
        Ok(Some(self.decide(version, &classes, decisions)))
    }

    /// Makes the network that the life begins with a version as it is, so that what comes of it has to be better.
    fn adopt(&self, start: &str, chosen: Chosen) -> Result<Settled, EvolveError> {
        let network = self
            .home
            .network(start, "the network that the life begins with")?;
        let outputs = classes_of(&network.graph).unwrap_or(usize::MAX);
        let classes = chosen.mixture.classes.clone();
        let list = Mixture {
            name: "nothing: the network that the life begins with".to_owned(),
            classes: classes.iter().take(outputs).cloned().collect(),
            train: Vec::new(),
            validation: Vec::new(),
        };
        let samples = self.keep_list(&list)?;
        let data = self.folder.join("data");
        lay_out(self.home, &list, &chosen.judges, &samples, &data)?;
        let latency_ms = match self.spec.limits.latency_ms {
            Some(_) => Some(latency_ms(&network.graph, self.threads).map_err(TrialError::from)?),
            None => None,
        };
        let path = self.folder.join(ONNX_FILE);
        let onnx = match write_onnx(&network, &path)? {
            None => self.keep_onnx(&path)?,
            Some(_) => None,
        };
        // A life that is killed here writes it again.
        let _ = fs::remove_file(&path);
        let record = VersionRecord {
            grew: Vec::new(),
            plans: Vec::new(),
            parameters: network.graph.parameter_count(),
            flops: network.graph.flops(),
            latency_ms,
            judgement: self.judgement(start, &chosen)?,
            snapshots: Vec::new(),
            new_samples: 0,
            replayed: 0,
            seconds: 0.0,
            training_flops: 0.0,
            growth: None,
            metrics: Vec::new(),
        };
        let version = NewVersion {
            model: start.to_owned(),
            onnx,
            trunk: start.to_owned(),
            samples,
            trial: String::new(),
            record,
        };
        Ok(self.decide(version, &classes, Vec::new()))
    }

    /// Whether the new network replaces the champion.
    fn decide(
        &self,
        version: NewVersion,
        classes: &[String],
        mut decisions: Vec<NewDecision>,
    ) -> Settled {
        let record = &version.record;
        let cost = Cost {
            parameters: record.parameters,
            flops: record.flops,
            latency_ms: record.latency_ms,
        };
        let decided = verdict(
            &record.judgement,
            cost,
            classes,
            &self.spec.promotion,
            &self.spec.limits,
            &record.snapshots,
        );
        let (promoted, goes_on, kind, why) = match decided {
            Verdict::Better(why) => (true, true, "promoted", why),
            Verdict::NotBetter(why) => (false, true, "kept", why),
            Verdict::Worse(why) => (false, false, "kept", why),
        };
        let word = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
        decisions.push(NewDecision {
            what: "promote",
            outcome: word(promoted),
            reason: why.clone(),
        });
        if !goes_on {
            decisions.push(NewDecision {
                what: "trunk",
                outcome: word(false),
                reason: "the trunk stays where it was, since what came of it is worse; its data count as new in the next step"
                    .to_owned(),
            });
        }
        self.settled(Some(version), decisions, promoted, goes_on, kind, &why)
    }

    fn settled(
        &self,
        version: Option<NewVersion>,
        decisions: Vec<NewDecision>,
        promoted: bool,
        goes_on: bool,
        kind: &'static str,
        why: &str,
    ) -> Settled {
        let accuracy = version
            .as_ref()
            .map(|version| version.record.judgement.challenger.accuracy);
        Settled {
            step: self.step.id,
            parent: self.step.head,
            version,
            decisions,
            promoted,
            goes_on,
            event: (kind, json!({ "reason": why, "accuracy": accuracy })),
        }
    }

    fn no_version(&self, why: &str) -> NewDecision {
        NewDecision {
            what: "promote",
            outcome: "no".to_owned(),
            reason: format!(
                "the step made no network: {why}; champion and trunk stay, and its data count as new in the next step"
            ),
        }
    }

    /// How this step trains.
    pub(super) fn recipe(&self) -> &Recipe {
        self.spec.recipe_of(self.step.head.is_none())
    }

    /// Makes this step's training as long as the least that is wanted.
    fn lengthen(&mut self, samples: usize) {
        let steps = self.spec.least_steps;
        let recipe = self.spec.recipe_of_mut(self.step.head.is_none());
        let epochs = least_epochs(recipe, steps, samples);
        let longer = epochs / recipe.epochs;
        recipe.epochs = epochs;
        if let Some(growth) = &mut self.spec.growth {
            growth.probe_epochs *= longer;
        }
    }

    /// The same after a probe, whose stable phase has been a part of it.
    fn shortened(&self) -> Recipe {
        let mut recipe = self.recipe().clone();
        let probe = self.spec.growth.as_ref().map_or(0.0, |g| g.probe_epochs);
        recipe.epochs = (recipe.epochs - probe).max(recipe.epochs / 2.0);
        recipe.warmup_epochs = 0.0;
        recipe
    }

    fn keep_list(&self, mixture: &Mixture) -> Result<String, EvolveError> {
        let json = serde_json::to_vec(mixture).map_err(|source| EvolveError::Json {
            path: self.folder.join(MIXTURE_FILE),
            source,
        })?;
        self.home.objects.put(&json, "json")
    }

    /// What the step's trials learn from, in this process too.
    pub(super) fn data(&self) -> Result<TrainingData, EvolveError> {
        let (data, _) = self.data_spec()?.training(self.seed())?;
        Ok(data)
    }

    pub(super) fn data_spec(&self) -> Result<DataSpec, EvolveError> {
        Ok(DataSpec {
            mixture: Some(self.folder.join("data").join(MIXTURE_FILE)),
            normalization: normalization_of(self.home)?,
            ..DataSpec::default()
        })
    }

    /// The seed of the step's trials: each sees its images in an order of its own.
    pub(super) fn seed(&self) -> u64 {
        self.spec.seed.wrapping_add(self.step.id.unsigned_abs())
    }

    /// What the step goes on from, with the plan for new classes.
    fn trunk(&self, classes: &[String]) -> Result<Trunk, EvolveError> {
        let Some(head) = self.step.head else {
            return Ok(Trunk {
                file: None,
                plans: Vec::new(),
                network: None,
                keep_moments: false,
            });
        };
        let head = self.home.store.version(head)?;
        let whose = format!("the trunk of version {}", head.id);
        let mut network = self.home.network(&head.trunk, &whose)?;
        let mut plans = Vec::new();
        if classes_of(&network.graph).is_some_and(|found| found < classes.len()) {
            plans.push((
                "plan-classes.json".to_owned(),
                self.more_classes(&mut network, classes.len())?,
            ));
        }
        Ok(Trunk {
            file: Some(self.home.objects.path(&head.trunk, NETWORK)),
            plans,
            network: Some(network),
            keep_moments: self.shares_moments(&head),
        })
    }

    /// Whether the optimizer is the one that the trunk was trained by.
    fn shares_moments(&self, head: &Version) -> bool {
        let before = TrialSpec::from_toml(&head.trial);
        before.is_ok_and(|before| {
            let optimizer = &self.recipe().optimizer;
            before.recipe.optimizer.shares_state_with(optimizer)
        })
    }

    /// The plan by which a network gets more classes, applied to it. The old logits stay.
    fn more_classes(&self, network: &mut Checkpoint, count: usize) -> Result<Vec<u8>, EvolveError> {
        let data = self.data()?;
        let drawn = data.statistics_images(self.seed())?;
        let mut cx = context(self.threads)?;
        let wanted = Request {
            classes: [("*".to_owned(), count)].into(),
            spaces: Vec::new(),
            ..Request::default()
        };
        let (plan, growth) = request(
            &mut cx,
            &network.graph,
            &network.weights,
            &wanted,
            self.seed(),
            drawn.count,
            &[&drawn.images],
        )?;
        network.weights = growth.weights(&network.weights)?;
        network.optimizer = growth.optimizer_state(&network.optimizer)?;
        network.graph = growth.graph().clone();
        self.json("plan-classes.json", &plan)
    }

    pub(super) fn json(
        &self,
        name: &str,
        value: &impl serde::Serialize,
    ) -> Result<Vec<u8>, EvolveError> {
        serde_json::to_vec_pretty(value).map_err(|source| EvolveError::Json {
            path: self.folder.join(name),
            source,
        })
    }

    /// What is kept of the network that was trained.
    fn version(
        &self,
        result: &TrialResult,
        chosen: Chosen,
        list: String,
        steps: &[(String, Vec<u8>)],
        growth: Option<GrowthRecord>,
    ) -> Result<NewVersion, EvolveError> {
        let out = self.trial_folder(RELEASE);
        let model = self.home.keep(&out.join(MODEL_FILE))?;
        let onnx = self.keep_onnx(&out.join(ONNX_FILE))?;
        let mut plans = Vec::new();
        let mut grew = Vec::new();
        for (_, bytes) in steps {
            plans.push(self.home.objects.put(bytes, "json")?);
            let plan: Result<net2net_core::plan::Plan, _> = serde_json::from_slice(bytes);
            grew.extend(plan.map(|plan| plan.describe()).unwrap_or_default());
        }
        let path = out.join(SPEC_FILE);
        let trial = fs::read_to_string(&path).map_err(EvolveError::file(&path))?;
        let record = VersionRecord {
            grew,
            plans,
            parameters: result.parameters,
            flops: result.flops,
            latency_ms: result.latency_ms,
            judgement: self.judgement(&model, &chosen)?,
            snapshots: chosen.snapshots,
            new_samples: chosen.new_samples,
            replayed: chosen.replayed,
            seconds: self.spent.0,
            training_flops: self.spent.1,
            growth,
            metrics: result.metrics.clone(),
        };
        Ok(NewVersion {
            model,
            onnx,
            trunk: self.home.keep(&out.join(TRUNK_FILE))?,
            samples: list,
            trial,
            record,
        })
    }

    /// Keeps an ONNX file, where the network has that form.
    fn keep_onnx(&self, path: &Path) -> Result<Option<String>, EvolveError> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(self.home.objects.put(&bytes, "onnx")?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(EvolveError::file(path)(source)),
        }
    }

    /// How the new network and the champion do on the images that judge.
    fn judgement(&self, model: &str, chosen: &Chosen) -> Result<Judgement, EvolveError> {
        let shares: Vec<Share> = chosen
            .judges
            .iter()
            .map(|(_, share)| share.clone())
            .collect();
        let counts: Vec<(i64, usize)> = chosen
            .judges
            .iter()
            .map(|(id, share)| (*id, share.samples.len()))
            .collect();
        let list = Mixture {
            name: "judges".to_owned(),
            classes: chosen.mixture.classes.clone(),
            train: Vec::new(),
            validation: shares,
        };
        let images: Dataset = list.load_validation(&self.folder.join("data"))?;
        let normalization = match normalization_of(self.home)? {
            Some(known) => known,
            None => Normalization::identity(images.shape().channels),
        };
        let answers = |hash: &str, whose: &str| {
            let network = self.home.network(hash, whose)?;
            correct(&network, &images, &normalization, self.threads)
        };
        let ours = answers(model, "this step")?;
        let theirs = match self.home.store.champion()? {
            Some(id) => {
                let champion = self.home.store.version(id)?;
                Some(answers(&champion.model, &format!("version {id}"))?)
            }
            None => None,
        };
        let compared =
            |theirs: &Vec<bool>| bootstrap(&ours, theirs, &self.spec.promotion, self.seed());
        Ok(Judgement {
            samples: images.len(),
            list: self.keep_list(&list)?,
            challenger: scores(&ours, &images, &counts),
            champion: theirs
                .as_ref()
                .map(|theirs| scores(theirs, &images, &counts)),
            difference: theirs.as_ref().map(compared),
        })
    }
}

/// The hash of the network that the life begins with, if a step is to make it the first version.
pub(super) fn adopted(home: &Home, step: &Step) -> Result<Option<String>, EvolveError> {
    match step.head {
        Some(_) => Ok(None),
        None => home.store.fact(fact::START),
    }
}

/// What images are normalised by: measured on the first data, and kept, since a trunk must not see other numbers for the same
/// image.
pub(super) fn normalization_of(home: &Home) -> Result<Option<Normalization>, EvolveError> {
    let Some(text) = home.store.fact(fact::NORMALIZATION)? else {
        return Ok(None);
    };
    let parsed = serde_json::from_str(&text).map_err(|source| EvolveError::Row {
        path: home.path().to_owned(),
        what: "the normalization".to_owned(),
        source,
    })?;
    Ok(Some(parsed))
}

/// Where a step's files are.
pub(super) fn folder_of(home: &Home, step: i64) -> PathBuf {
    home.path().join("steps").join(format!("{step:04}"))
}
