"""What every verb about language takes where nothing is said; light to import."""

LLM = "smollm2-135m-instruct"
ENCODER = "all-minilm-l6-v2"
ENGINE = "openvino"
SEED = 2023
PINNED = "pinned"  # what stands for the model that `llm pin` keeps
