"""The numbers of the method, each with its source. Everything else about sizes comes from configs."""

ID_PROMPT = "photo of a id person"  # Arc2Face's only prompt; the row of "id" is replaced by the ID embedding
ID_WORD = "id"
ID_OFFSET = 4  # first ID vector: after the start token and "photo of a"
NUM_ID_VECTORS = 16  # ID vectors = subject embeddings of one person (AdaFace: 16 tokens a subject)
INVERSE_PROMPT_HEAD = "photo of a "  # the inverse encoder's template; a comma for each ID vector follows
INVERSE_PROMPT_FILL = ", "
HIDDEN_LAYER_WEIGHTS = (1.0, 2.0, 4.0)  # start of the learned mix of the inverse encoder's last three layers
DEFAULT_SUBJECT = "person"  # name of a sole subject: <person>
STEPS = 50  # DDIM steps of the original evaluation
GUIDANCE_SCALE = (4.0, 1.0)  # linearly from the first to the last step
GUIDANCE_FLOOR = 1.0 + 1e-6  # at exactly 1 diffusers stops doubling the latents but not the prompt embeddings
LAYER_WEIGHTS = (1.0, 1.0)  # mix of the text encoder's last two layers in the original evaluation
