//! A canary by the AWS SDK for Rust, from deployment to promotion: by steps of its own, and by serin's plan.
//!
//! Usage: canary ENDPOINT ONE.zip TWO.zip, with the credentials in the environment. Prints, as JSON, how many invocations each version answered by alias.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::time::Duration;

use aws_sdk_lambda::client::Waiters;
use aws_sdk_lambda::config::{Credentials, Region};
use aws_sdk_lambda::operation::get_alias::GetAliasOutput;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{
    AliasRoutingConfiguration, FunctionCode, InvokeWithResponseStreamResponseEvent as Event, Runtime,
};
use aws_sdk_lambda::{Client, Config};
use aws_smithy_http_client::Builder;

const FUNCTION: &str = "canary";
const PAYLOAD: &str = r#"{"do":"context"}"#;
const PATIENCE: Duration = Duration::from_secs(120);
/// More than the plan asks for by far.
const INVOCATIONS_MAX: u32 = 50_000;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, one, two] = &arguments[..] else {
        return Err("usage: canary ENDPOINT ONE.zip TWO.zip".into());
    };
    let variable = |name: &str| std::env::var(name).map_err(|why| format!("{name}: {why}"));
    let (key, secret) = (variable("AWS_ACCESS_KEY_ID")?, variable("AWS_SECRET_ACCESS_KEY")?);
    let config = Config::builder()
        .endpoint_url(endpoint)
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new(key, secret, None, None, "environment"))
        .http_client(Builder::new().build_http())
        .build();
    let mut canary = Canary { client: Client::from_conf(config), answered: BTreeMap::new() };
    canary.deploy(one).await?;
    canary.update(two).await?;
    canary.by_steps_of_its_own().await?;
    canary.by_the_plan().await?;
    println!("{}", canary.tally());
    Ok(())
}

struct Canary {
    client: Client,
    /// How many invocations each version answered, by alias.
    answered: BTreeMap<String, BTreeMap<String, u32>>,
}

impl Canary {
    /// Makes the function, its version 1 and both aliases on it.
    async fn deploy(&mut self, zip: &str) -> Outcome {
        self.client
            .create_function()
            .function_name(FUNCTION)
            .runtime(Runtime::Providedal2023)
            .handler("bootstrap")
            .role("arn:aws:iam::000000000000:role/canary")
            .timeout(20)
            .code(FunctionCode::builder().zip_file(code(zip)?).build())
            .send()
            .await?;
        self.client.wait_until_function_active_v2().function_name(FUNCTION).wait(PATIENCE).await?;
        let published = self.client.publish_version().function_name(FUNCTION).send().await?;
        assert_eq!(published.version(), Some("1"));
        for name in ["beta", "live"] {
            let making = self.client.create_alias().function_name(FUNCTION).name(name);
            let made = making.function_version("1").send().await?;
            assert_eq!((made.name(), made.function_version()), (Some(name), Some("1")));
            assert_eq!(self.invoke(name, 20).await?, ["1"]);
            assert_eq!(self.stream(name).await?, "1");
        }
        Ok(())
    }

    /// Gives the function other code, and publishes version 2: serin's plan begins by itself.
    async fn update(&self, zip: &str) -> Outcome {
        self.client.update_function_code().function_name(FUNCTION).zip_file(code(zip)?).send().await?;
        self.client.wait_until_function_updated_v2().function_name(FUNCTION).wait(PATIENCE).await?;
        let published = self.client.publish_version().function_name(FUNCTION).send().await?;
        assert_eq!(published.version(), Some("2"));
        Ok(())
    }

    /// Shifts the weights of `beta` as AWS's own deployers do, guarded by revisions.
    async fn by_steps_of_its_own(&mut self) -> Outcome {
        let first = self.alias("beta").await?;
        for weight in [0.1, 0.5] {
            let before = self.alias("beta").await?;
            let routing = AliasRoutingConfiguration::builder().additional_version_weights("2", weight);
            let changing = self.client.update_alias().function_name(FUNCTION).name("beta");
            let changing = changing.set_revision_id(before.revision_id().map(str::to_owned));
            let changed = changing.routing_config(routing.build()).send().await?;
            let weights = changed.routing_config().and_then(|routing| routing.additional_version_weights());
            assert_eq!(weights.and_then(|weights| weights.get("2")), Some(&weight));
            assert_ne!(changed.revision_id(), before.revision_id());
        }
        let promoting = || {
            let promoting = self.client.update_alias().function_name(FUNCTION).name("beta");
            promoting.function_version("2").routing_config(AliasRoutingConfiguration::builder().build())
        };
        let stale = promoting().set_revision_id(first.revision_id().map(str::to_owned)).send().await;
        let refused = stale.expect_err("the revision was that of before").into_service_error();
        assert!(refused.is_precondition_failed_exception(), "{refused:?}");
        let promoting = promoting();
        assert_eq!(self.invoke("beta", 100).await?, ["1", "2"]);
        promoting.send().await?;
        self.promoted("beta").await
    }

    /// Invokes through `live` until serin's plan has promoted version 2.
    async fn by_the_plan(&mut self) -> Outcome {
        let mut seen = BTreeSet::new();
        while self.alias("live").await?.function_version() != Some("2") {
            let answered = &self.answered["live"];
            assert!(answered.values().sum::<u32>() < INVOCATIONS_MAX, "not promoted after {answered:?}");
            seen.extend(self.invoke("live", 10).await?);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["1", "2"]);
        self.promoted("live").await
    }

    /// Asserts that an alias is on version 2 alone.
    async fn promoted(&mut self, name: &str) -> Outcome {
        let alias = self.alias(name).await?;
        assert_eq!((alias.function_version(), alias.routing_config()), (Some("2"), None));
        assert_eq!(self.invoke(name, 20).await?, ["2"]);
        assert_eq!(self.stream(name).await?, "2");
        Ok(())
    }

    async fn alias(&self, name: &str) -> Outcome<GetAliasOutput> {
        Ok(self.client.get_alias().function_name(FUNCTION).name(name).send().await?)
    }

    /// Invokes an alias so many times, and gives the versions that answered.
    async fn invoke(&mut self, name: &str, times: u32) -> Outcome<Vec<String>> {
        let mut versions = BTreeSet::new();
        for _ in 0..times {
            let invoking = self.client.invoke().function_name(format!("{FUNCTION}:{name}"));
            let answer = invoking.payload(Blob::new(PAYLOAD)).send().await?;
            let body = answer.payload().map(Blob::as_ref).unwrap_or_default();
            assert_eq!((answer.status_code(), answer.function_error()), (200, None));
            versions.insert(self.count(name, answer.executed_version(), body)?);
        }
        Ok(versions.into_iter().collect())
    }

    /// Invokes an alias once, with its answer as a stream.
    async fn stream(&mut self, name: &str) -> Outcome<String> {
        let invoking = self.client.invoke_with_response_stream().function_name(FUNCTION).qualifier(name);
        let mut answer = invoking.payload(Blob::new(PAYLOAD)).send().await?;
        let (mut body, mut complete) = (Vec::new(), None);
        while let Some(event) = answer.event_stream.recv().await? {
            match event {
                Event::PayloadChunk(chunk) => body.extend(chunk.payload.ok_or("no payload")?.into_inner()),
                Event::InvokeComplete(end) => complete = Some(end),
                other => return Err(format!("{other:?} in a response stream").into()),
            }
        }
        let complete = complete.ok_or("a response stream without its end")?;
        assert_eq!((complete.error_code(), complete.error_details()), (None, None));
        self.count(name, answer.executed_version(), &body)
    }

    /// Counts an answer, and gives its version. The function says itself which version it is.
    fn count(&mut self, name: &str, version: Option<&str>, body: &[u8]) -> Outcome<String> {
        let version = version.ok_or("an answer without ExecutedVersion")?.to_owned();
        let body = String::from_utf8_lossy(body);
        assert!(body.contains(&format!(r#""version":"{version}""#)), "{version} instead of {body}");
        *self.answered.entry(name.to_owned()).or_default().entry(version.clone()).or_default() += 1;
        Ok(version)
    }

    /// The counts as JSON; the names in it need no escapes, and neither do they as Rust writes them.
    fn tally(&self) -> String {
        format!("{:?}", self.answered)
    }
}

fn code(zip: &str) -> Outcome<Blob> {
    Ok(Blob::new(std::fs::read(zip)?))
}
