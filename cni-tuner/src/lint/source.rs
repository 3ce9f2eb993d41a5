//! Where settings of aws-node are read from: manifests of its DaemonSet (or a pod's specification, or
//! lists of such), the configuration of the EKS add-on, values of the Helm chart.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The container that ipamd runs in.
const CONTAINER: &str = "aws-node";
/// Its image: copies of the DaemonSet for some nodes have another name (`nameOverride` of the chart).
const IMAGE: &str = "amazon-k8s-cni";
/// The ConfigMap that only Windows nodes read.
const WINDOWS_CONFIG_MAP: &str = "amazon-vpc-cni";

/// The environment of one aws-node, as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// Where it is from, for people.
    pub name: String,
    /// Variables with a value.
    pub env: BTreeMap<String, String>,
    /// Variables whose value comes from elsewhere, and from where.
    pub unknowable: BTreeMap<String, String>,
    /// What else sets variables nobody names here (`envFrom`).
    pub elsewhere: Vec<String>,
    /// Variables that are set more than once.
    pub doubled: Vec<String>,
    /// Variables of a container whose value is no text, which Kubernetes refuses.
    pub unquoted: Vec<String>,
    /// Settings found in the ConfigMap for Windows nodes.
    pub windows: Vec<String>,
    /// Whether the chart's own values hold for what is not set. A manifest is complete.
    pub is_on_top_of_the_chart: bool,
}

/// What is wrong with a file of settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(String);

impl Source {
    /// The chart's own values.
    pub fn chart() -> Source {
        let name = "the chart's values".to_owned();
        Source { name, is_on_top_of_the_chart: true, ..Source::default() }
    }

    /// All that a file has: YAML, of one document or several, or JSON.
    ///
    /// # Errors
    ///
    /// [`SourceError`] if it is neither, or has no settings of aws-node.
    pub fn read(name: &str, text: &str) -> Result<Vec<Source>, SourceError> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(text)
            .map_err(|error| SourceError(format!("{name}: {}", one_line(&error.to_string()))))?;
        let mut found = Found::default();
        for document in documents {
            found.look_at(name, document, 0)?;
        }
        found.into_sources(name)
    }

    /// Puts `NAME=VALUE` on top.
    pub fn set(&mut self, name: &str, value: &str) {
        self.unknowable.remove(name);
        self.env.insert(name.to_owned(), value.to_owned());
    }
}

/// Lists in lists of a file; deeper ones are none of Kubernetes'.
const DEPTH_MAX: u32 = 4;

#[derive(Default)]
struct Found {
    sources: Vec<Source>,
    windows: Vec<String>,
}

impl Found {
    fn look_at(&mut self, file: &str, value: Value, depth: u32) -> Result<(), SourceError> {
        let mut object = match value {
            Value::Object(object) => object,
            // What `aws eks describe-addon --query addon.configurationValues` prints.
            Value::String(values) if depth < DEPTH_MAX => {
                return self.look_inside(file, &values, depth);
            }
            _ => return Ok(()),
        };
        if let Some(Value::Array(items)) = object.remove("items")
            && depth < DEPTH_MAX
        {
            return items.into_iter().try_for_each(|item| self.look_at(file, item, depth + 1));
        }
        let kind = text(&object, "kind").unwrap_or_default();
        let metadata = object.get("metadata").and_then(Value::as_object);
        let name = metadata.and_then(|of| text(of, "name")).unwrap_or_default();
        if kind == "ConfigMap" && name == WINDOWS_CONFIG_MAP {
            self.windows.extend(warm_keys(&object));
            return Ok(());
        }
        if let Some(container) = container(&object) {
            let label = if name.is_empty() { CONTAINER.to_owned() } else { name };
            self.sources.push(of_container(format!("{file}, {label}"), container)?);
            return Ok(());
        }
        self.look_at_values(file, object, depth)
    }

    /// The add-on's configuration: `{"env": {...}}`, alone or as the text inside what
    /// `aws eks describe-addon` prints.
    fn look_at_values(
        &mut self,
        file: &str,
        mut object: Map<String, Value>,
        depth: u32,
    ) -> Result<(), SourceError> {
        if let Some(Value::Object(env)) = object.get("env") {
            self.sources.push(of_values(file, env)?);
            return Ok(());
        }
        let inner = object.remove("addon").filter(|_| depth < DEPTH_MAX);
        if let Some(addon) = inner {
            return self.look_at(file, addon, depth + 1);
        }
        match object.remove("configurationValues") {
            Some(Value::String(values)) if depth < DEPTH_MAX => {
                self.look_inside(&format!("{file}, configurationValues"), &values, depth)
            }
            _ => Ok(()),
        }
    }

    /// A configuration that is a text inside another document.
    fn look_inside(&mut self, name: &str, text: &str, depth: u32) -> Result<(), SourceError> {
        let inside: Value = serde_saphyr::from_str(text)
            .map_err(|error| SourceError(format!("{name}: {}", one_line(&error.to_string()))))?;
        self.look_at(name, inside, depth + 1)
    }

    fn into_sources(mut self, file: &str) -> Result<Vec<Source>, SourceError> {
        if self.sources.is_empty() && self.windows.is_empty() {
            return Err(SourceError(format!(
                "{file}: there are no settings of aws-node in it; needed is a DaemonSet or pod \
                 with a container {CONTAINER}, or the add-on's configuration, such as \
                 {{\"env\": {{\"WARM_IP_TARGET\": \"2\"}}}}"
            )));
        }
        if self.sources.is_empty() {
            let chart = Source::chart();
            self.sources.push(Source { name: format!("{file}, {}", chart.name), ..chart });
        }
        self.sources[0].windows = self.windows;
        Ok(self.sources)
    }
}

/// What the chart writes into the ConfigMap; nobody has set these.
const WINDOWS_OF_THE_CHART: [(&str, &str); 3] =
    [("warm-prefix-target", "0"), ("warm-ip-target", "1"), ("minimum-ip-target", "3")];

/// The keys of the ConfigMap that look like targets and that somebody has set.
fn warm_keys(object: &Map<String, Value>) -> Vec<String> {
    let data = object.get("data").and_then(Value::as_object);
    let is_target = |(key, value): &(&String, &Value)| {
        let is_of_the_chart = scalar(value)
            .is_some_and(|value| WINDOWS_OF_THE_CHART.contains(&(key.as_str(), value.as_str())));
        let key = key.to_ascii_lowercase().replace('_', "-");
        !is_of_the_chart && (key.starts_with("warm-") || key.starts_with("minimum-ip"))
    };
    data.into_iter().flatten().filter(is_target).map(|(key, _)| key.clone()).collect()
}

/// The container aws-node of a workload, a pod, a pod's specification, or by itself.
fn container(object: &Map<String, Value>) -> Option<&Map<String, Value>> {
    let step = |of: &Map<String, Value>, name: &str| of.get(name)?.as_object().map(|_| ());
    let mut here = object;
    for name in ["spec", "template", "spec"] {
        if step(here, name).is_some() {
            here = here.get(name)?.as_object()?;
        }
    }
    let is_named = |of: &Map<String, Value>| text(of, "name").as_deref() == Some(CONTAINER);
    let is_ours = |of: &&Map<String, Value>| is_named(of) || has_image(of);
    let containers = here.get("containers").and_then(Value::as_array);
    let mut inside = containers.into_iter().flatten().filter_map(Value::as_object);
    inside.find(is_ours).or_else(|| {
        Some(object).filter(is_ours).filter(|of| of.contains_key("env") || of.contains_key("image"))
    })
}

/// Whether the container has the CNI's image, from whatever registry.
fn has_image(container: &Map<String, Value>) -> bool {
    let image = text(container, "image").unwrap_or_default();
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split([':', '@']).next() == Some(IMAGE)
}

fn of_container(name: String, container: &Map<String, Value>) -> Result<Source, SourceError> {
    let mut source = Source { name, elsewhere: elsewhere(container), ..Source::default() };
    let entries = match container.get("env") {
        None | Some(Value::Null) => return Ok(source),
        Some(Value::Array(entries)) => entries,
        Some(_) => {
            return Err(SourceError(format!(
                "{}: env: a list of names and values is needed",
                source.name
            )));
        }
    };
    for (at, entry) in entries.iter().enumerate() {
        let name = entry.as_object().and_then(|entry| text(entry, "name"));
        let Some(name) = name else {
            return Err(SourceError(format!("{}: env[{at}]: a name is needed", source.name)));
        };
        if source.env.contains_key(&name) || source.unknowable.contains_key(&name) {
            source.doubled.push(name.clone());
        }
        source.put(name, entry)?;
    }
    Ok(source)
}

/// Where whole sets of variables come from: `configMapRef NAME`.
fn elsewhere(container: &Map<String, Value>) -> Vec<String> {
    let list = container.get("envFrom").and_then(Value::as_array);
    let entries = list.into_iter().flatten().filter_map(Value::as_object);
    let named = |(kind, of): (&String, &Value)| {
        let name = text(of.as_object()?, "name")?;
        Some(format!("{kind} {name}"))
    };
    entries.filter_map(|entry| entry.iter().find_map(named)).collect()
}

impl Source {
    fn put(&mut self, name: String, entry: &Value) -> Result<(), SourceError> {
        self.env.remove(&name);
        self.unknowable.remove(&name);
        if let Some(from) = entry.get("valueFrom") {
            let kind = from.as_object().and_then(|from| from.keys().next().cloned());
            self.unknowable.insert(name, kind.unwrap_or_else(|| "elsewhere".to_owned()));
            return Ok(());
        }
        let value = match entry.get("value") {
            // Kubernetes takes a variable without a value for an empty one.
            None => Some(String::new()),
            Some(value) => scalar(value),
        };
        let Some(value) = value else {
            return Err(SourceError(format!(
                "{}: {name}: a text is needed as its value",
                self.name
            )));
        };
        if matches!(entry.get("value"), Some(Value::Number(_) | Value::Bool(_))) {
            self.unquoted.push(name.clone());
        }
        self.env.insert(name, value);
        Ok(())
    }
}

fn of_values(file: &str, env: &Map<String, Value>) -> Result<Source, SourceError> {
    let mut source = Source { name: file.to_owned(), ..Source::chart() };
    for (name, value) in env {
        let Some(value) = scalar(value) else {
            return Err(SourceError(format!("{file}: env.{name}: a text is needed as its value")));
        };
        source.env.insert(name.clone(), value);
    }
    Ok(source)
}

/// What a value becomes in a container's environment. Kubernetes takes texts only; the chart puts
/// quotes around numbers and switches.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(on) => Some(on.to_string()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

fn text(object: &Map<String, Value>, name: &str) -> Option<String> {
    object.get(name)?.as_str().map(str::to_owned)
}

/// A parser's message without the excerpt of the file below it, and without advice to programmers.
fn one_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or(message).trim();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    if let Some((at, _)) = line.split_once("budget breached") {
        return format!(
            "{at}it is too large or too deep; the DaemonSet alone is enough, as `kubectl get \
             daemonset -n kube-system aws-node -o yaml` prints it"
        );
    }
    line.split(", set DuplicateKeyPolicy").next().unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests;
