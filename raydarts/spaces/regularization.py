"""Settings against memorising of recurrent networks. They are separate, so that reading them builds no network."""

from __future__ import annotations

from pydantic import Field

from raydarts.registry import Settings
from raydarts.units import Entries


class Regularization(Settings):
    """What keeps a recurrent model from memorising. The defaults are those of the authors' search.

    Masks are drawn once for all time steps of a batch. The two penalties are added to the training loss: activation
    regularization and temporal activation regularization (`slowness`; Merity et al. 2017, arXiv 1708.01009).
    """

    embedding_dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of the vocabulary's tokens whose vectors are set to zero for a batch."
    )
    input_dropout: float = Field(
        0.2, ge=0, lt=1, description="Share of the entries of the token vectors that are dropped."
    )
    cell_dropout: float = Field(0.75, ge=0, lt=1, description="Share of the cell's input that is dropped.")
    hidden_dropout: float = Field(
        0.25, ge=0, lt=1, description="Share of the hidden state and of the nodes' inputs that is dropped."
    )
    output_dropout: float = Field(0.75, ge=0, lt=1, description="Share of the cell's output that is dropped.")
    activation_regularization: float = Field(
        0.0, ge=0, description="Weight of mean(output^2) in the training loss, after dropout of the output."
    )
    slowness: float = Field(
        1e-3, ge=0, description="Weight of mean((h_t - h_{t-1})^2) in the training loss, before dropout of the output."
    )


class RecurrentNetworkSettings(Regularization):
    """A genotype's network. The defaults are the paper's on Penn Treebank."""

    units: Entries = Field(850, ge=1, description="Entries of token vectors, hidden state and output.")
    embedding_dropout: float = Field(
        0.1, ge=0, lt=1, description="Share of the vocabulary's tokens whose vectors are set to zero for a batch."
    )
