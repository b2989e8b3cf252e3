"""IMAGE -> NUMBERS: does a picture fit its prompt, and is it the person?"""
