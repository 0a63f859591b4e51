//! Reading the issuer's keys from a file or an address.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::config::JwksSource;
use super::keys::{KeySet, KeysError, Rules};

/// How long an address may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A longer document is no issuer's.
const DOCUMENT_BYTES_MAX: usize = 512 * 1024;

/// Why the keys could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum JwksError {
    #[error("the file of keys {path} cannot be read: {cause}")]
    File { path: PathBuf, cause: io::Error },
    #[error("the address of keys does not answer: {}", with_causes(.0))]
    Address(#[from] reqwest::Error),
    #[error("the address of keys answers {0}")]
    Status(reqwest::StatusCode),
    #[error("the document of keys is larger than {DOCUMENT_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the keys cannot be used: {0}")]
    Keys(#[from] KeysError),
}

/// An error with what caused it: that of the client alone says only that sending failed.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Reads keys from their source.
pub(super) struct Reader {
    source: JwksSource,
    http: reqwest::Client,
}

impl Reader {
    pub(super) fn try_new(source: JwksSource) -> Result<Self, JwksError> {
        // A redirect could lead to keys of somebody else.
        let http = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self { source, http })
    }

    pub(super) fn is_file(&self) -> bool {
        matches!(self.source, JwksSource::File(_))
    }

    pub(super) async fn read(&self) -> Result<Vec<u8>, JwksError> {
        match &self.source {
            JwksSource::File(path) => {
                let text = tokio::fs::read(path).await;
                let text = text.map_err(|cause| JwksError::File { path: path.clone(), cause })?;
                if text.len() > DOCUMENT_BYTES_MAX { Err(JwksError::TooLarge) } else { Ok(text) }
            }
            JwksSource::Address(url) => self.fetch(url).await,
        }
    }

    async fn fetch(&self, url: &str) -> Result<Vec<u8>, JwksError> {
        let mut response = self.http.get(url).send().await?;
        if !response.status().is_success() {
            return Err(JwksError::Status(response.status()));
        }
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            text.extend_from_slice(&chunk);
            if text.len() > DOCUMENT_BYTES_MAX {
                return Err(JwksError::TooLarge);
            }
        }
        Ok(text)
    }

    pub(super) fn parse(text: &[u8], rules: &Rules) -> Result<KeySet, JwksError> {
        Ok(KeySet::from_jwks(text, rules)?)
    }
}
