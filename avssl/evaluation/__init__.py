"""Transfer: what a frozen or fine-tuned encoder is worth on labelled videos."""
