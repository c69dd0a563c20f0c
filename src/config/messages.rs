//! Enters: `routes/`, `templates/` and `masking.toml`, beside the configuration's file, and the schemas that routes name; leaves: what is sent, and when, or
//! all faults of all these files at once.
//!
//! What is easily got wrong: a template is right or wrong only together with the routes that use it, so both are read before either is judged.

use super::Fault;
use super::Severity;
use crate::delivery::Channel;
use crate::event::input::{self, Inputs, TemplateFacts};
use crate::privacy::Class;
use crate::template::{self, Catalogue, Masking};
use crate::topics;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Routes and templates, compiled and judged together. Cheap to clone.
#[derive(Clone)]
pub struct Messages {
    /// The inputs and their routes.
    pub inputs: Arc<Inputs>,
    /// The templates.
    pub catalogue: Arc<Catalogue>,
}

/// Texts by the name of their file, relative to the configuration's folder.
type Files = Vec<(String, String)>;

impl Messages {
    /// Reads what lies in `folder`. A schema that a route names is looked for there, and else in the folder above it.
    ///
    /// `prefix`: that of our own topics, which no input may read. Returns the faults that only warn, too. Errors: all faults, warnings among them, in the order
    /// of files and keys.
    pub fn read(folder: &Path, prefix: &str, settings: input::Settings) -> Result<(Self, Vec<Fault>), Vec<Fault>> {
        let mut faults = Vec::new();
        let routes = texts(folder, "routes", &mut faults);
        let templates = texts(folder, "templates", &mut faults);
        let catalogue = catalogue(folder, &templates, &mut faults);
        own_topics(&routes, prefix, &mut faults);
        let schemas = schemas(folder, &routes, &mut faults);
        // Where the templates could not be read, the routes are judged as if each had the template that it names: its fault was told already.
        let facts = catalogue.as_ref().map_or_else(|| named(&routes), facts);
        let inputs = match Inputs::compile(&routes, &schemas, &facts, settings) {
            Ok((inputs, warnings)) => {
                faults.extend(warnings);
                Some(inputs)
            }
            Err(found) => {
                faults.extend(found);
                None
            }
        };
        if let (Some(inputs), Some(catalogue)) = (&inputs, &catalogue) {
            faults.extend(lint(inputs, catalogue));
        }
        faults.sort();
        faults.dedup();
        match (inputs, catalogue) {
            (Some(inputs), Some(catalogue)) if !faults.iter().any(|fault| fault.severity == Severity::Refuse) => {
                Ok((Self { inputs: Arc::new(inputs), catalogue: Arc::new(catalogue) }, faults))
            }
            _ => Err(faults),
        }
    }

    /// The bank's topics that are read, inputs and cancel inputs, each once.
    pub fn topics(&self) -> Vec<String> {
        let topics: BTreeSet<_> = self.inputs.inputs().iter().map(|input| input.topic.clone()).collect();
        topics.into_iter().collect()
    }

    /// Each input that has a cancel input, with that: a cancel must come in the partition of its request, so both need as many.
    pub fn cancels(&self) -> Vec<(String, String)> {
        let all = self.inputs.inputs();
        all.iter().filter_map(|input| input.cancels(all).map(|of| (of.topic.clone(), input.topic.clone()))).collect()
    }
}

/// All `*.toml` of a folder, in the order of their names.
fn texts(folder: &Path, name: &str, faults: &mut Vec<Fault>) -> Files {
    let entries = match fs::read_dir(folder.join(name)) {
        Ok(entries) => entries,
        Err(error) => {
            faults.push(Fault::refuse(name, "", format!("The folder cannot be read ({}).", error.kind())));
            return Files::new();
        }
    };
    let mut names: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
    // Kubernetes keeps its own, `..data` among them, beside the files that it mounts; editors too.
    names.retain(|file| !file.starts_with('.'));
    names.sort();
    let (names, others): (Vec<_>, Vec<_>) = names.into_iter().partition(|file| file.ends_with(".toml"));
    faults.extend(others.into_iter().map(|file| Fault::warn(format!("{name}/{file}"), "", "It is not read: a file's name must end in `.toml`.")));
    if names.is_empty() {
        faults.push(Fault::refuse(name, "", "The folder holds no .toml file."));
    }
    names.into_iter().filter_map(|file| Some((format!("{name}/{file}"), text(folder, &format!("{name}/{file}"), faults)?))).collect()
}

fn text(folder: &Path, file: &str, faults: &mut Vec<Fault>) -> Option<String> {
    read(&folder.join(file)).map_err(|why| faults.push(Fault::refuse(file, "", format!("The file cannot be read ({why}).")))).ok()
}

/// The text of a regular file, or of a link to one: a pipe would keep us waiting for ever.
fn read(path: &Path) -> Result<String, String> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => Err("it is no regular file".into()),
        Ok(_) => fs::read_to_string(path).map_err(|error| error.kind().to_string()),
        Err(error) => Err(error.kind().to_string()),
    }
}

fn catalogue(folder: &Path, templates: &Files, faults: &mut Vec<Fault>) -> Option<Catalogue> {
    const FILE: &str = "masking.toml";
    const STAND_IN: &str = "[bank]\nname = \"Banco\"\ncontact = \"0000\"\n";
    let masking = text(folder, FILE, faults).and_then(|text| Masking::parse(FILE, &text).map_err(|found| faults.extend(found)).ok());
    let readable = masking.is_some();
    // A fault of the masking hides none of the templates: they are judged under another, which is not used.
    let masking = masking.unwrap_or_else(|| Masking::parse(FILE, STAND_IN).expect("it names a bank"));
    let catalogue = Catalogue::compile(templates, masking).map_err(|found| faults.extend(found)).ok()?;
    readable.then_some(catalogue)
}

fn schemas(folder: &Path, routes: &Files, faults: &mut Vec<Fault>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for name in Inputs::schema_files(routes) {
        let path = [Some(folder), folder.parent()].into_iter().flatten().map(|start| start.join(&name)).find(|path| path.exists());
        match path.map(|path| read(&path)) {
            Some(Ok(text)) => drop(found.insert(name, text)),
            Some(Err(why)) => faults.push(Fault::refuse(&name, "", format!("The schema cannot be read ({why})."))),
            // The route that names it says so.
            None => {}
        }
    }
    found
}

/// An input that reads what we write would answer itself for ever: dead letters of dead letters.
fn own_topics(routes: &Files, prefix: &str, faults: &mut Vec<Fault>) {
    let ours: BTreeSet<_> = topics::all(prefix).into_iter().map(|topic| topic.name).collect();
    for (file, table) in routes.iter().filter_map(|(file, text)| Some((file, text.parse::<toml::Table>().ok()?))) {
        let Some(input) = table.get("input") else { continue };
        for (key, topic) in [("input.topic", input.get("topic")), ("input.cancel.topic", input.get("cancel").and_then(|cancel| cancel.get("topic")))] {
            if topic.and_then(toml::Value::as_str).is_some_and(|topic| ours.contains(topic)) {
                faults.push(Fault::refuse(file, key, "This topic is Recado's own: reading what it writes, it would go on for ever."));
            }
        }
    }
}

fn facts(catalogue: &Catalogue) -> BTreeMap<String, TemplateFacts> {
    let fact = |name: &str| (name.to_owned(), TemplateFacts { channels: catalogue.channels(name), whatsapp_ttl: catalogue.whatsapp_ttl(name) });
    catalogue.names().map(fact).collect()
}

/// Every template that a step names, with every channel.
fn named(routes: &Files) -> BTreeMap<String, TemplateFacts> {
    let mut found = BTreeMap::new();
    let tables = routes.iter().filter_map(|(_, text)| text.parse::<toml::Table>().ok());
    let list = |value: Option<&toml::Value>| value.and_then(toml::Value::as_array).cloned().unwrap_or_default();
    for step in tables.flat_map(|table| list(table.get("route"))).flat_map(|route| list(route.get("steps"))) {
        if let Some(template) = step.get("template").and_then(toml::Value::as_str) {
            found.insert(template.to_owned(), TemplateFacts { channels: Channel::ALL.into_iter().collect(), whatsapp_ttl: Some(Duration::ZERO) });
        }
    }
    found
}

fn lint(inputs: &Inputs, catalogue: &Catalogue) -> Vec<Fault> {
    let fields: Vec<Vec<(&str, Class)>> =
        (0..inputs.inputs().len()).map(|input| inputs.parameters(input).map(|(name, class, _)| (name, class)).collect()).collect();
    let uses: Vec<_> = inputs
        .template_uses()
        .iter()
        .map(|one| {
            let route = inputs.route(one.route);
            template::TemplateUse {
                route: &route.name,
                channel: one.channel,
                template: &one.template,
                fields: &fields[route.input],
                lane: route.route.lane,
                wait: one.wait,
                last_step: one.last_step,
                has_code: one.code,
            }
        })
        .collect();
    template::lint(catalogue, &uses)
}
