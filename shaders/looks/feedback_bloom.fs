/*{
  "ISFVSN": "2.0",
  "DESCRIPTION": "What is bright glows, and the glow lingers and drifts apart like smoke in a beam",
  "CREDIT": "l2s-node",
  "CATEGORIES": ["Glow", "Feedback"],
  "INPUTS": [
    {"NAME": "inputImage", "TYPE": "image"},
    {"NAME": "amount", "LABEL": "how strong the glow is", "TYPE": "float", "DEFAULT": 0.7, "MIN": 0, "MAX": 2},
    {"NAME": "threshold", "LABEL": "what is darker doesn't glow", "TYPE": "float", "DEFAULT": 0.6, "MIN": 0, "MAX": 1},
    {"NAME": "radius", "LABEL": "how far it reaches", "TYPE": "float", "DEFAULT": 0.5, "MIN": 0, "MAX": 1},
    {"NAME": "linger", "LABEL": "seconds that it takes to fade", "TYPE": "float", "DEFAULT": 0.6, "MIN": 0, "MAX": 5},
    {"NAME": "drift", "LABEL": "outwards (or inwards) while it fades", "TYPE": "float", "DEFAULT": 0.25, "MIN": -1, "MAX": 1},
    {"NAME": "turn", "LABEL": "and round", "TYPE": "float", "DEFAULT": 0, "MIN": -1, "MAX": 1},
    {"NAME": "tint", "LABEL": "colour of the glow", "TYPE": "color", "DEFAULT": [1.0, 0.93, 0.84, 1.0]}
  ],
  "PASSES": [
    {"TARGET": "fine", "WIDTH": "ceil($WIDTH / 4.0)", "HEIGHT": "ceil($HEIGHT / 4.0)"},
    {"TARGET": "across", "WIDTH": "ceil($WIDTH / 8.0)", "HEIGHT": "ceil($HEIGHT / 8.0)", "FLOAT": true},
    {"TARGET": "glow", "WIDTH": "ceil($WIDTH / 8.0)", "HEIGHT": "ceil($HEIGHT / 8.0)", "FLOAT": true, "PERSISTENT": true},
    {"TARGET": "shown", "WIDTH": "ceil($WIDTH / 8.0)", "HEIGHT": "ceil($HEIGHT / 8.0)"},
    {}
  ]
}*/

// Light is added up in linear light (a square root away from the picture's values), as a lens does.

const int TAPS = 8;

vec3 bright(vec2 at) {
    vec3 seen = IMG_NORM_PIXEL(inputImage, at).rgb;
    float top = max(seen.r, max(seen.g, seen.b));
    float over = smoothstep(threshold - 0.15, threshold + 0.35, top);
    return seen * seen * over;
}

// where the glow of this place was a frame ago
vec2 former(vec2 at) {
    float aspect = RENDERSIZE.x / RENDERSIZE.y;
    vec2 p = (at - 0.5) * vec2(aspect, 1.0);
    float angle = turn * TIMEDELTA * 1.5;
    float closer = exp(-drift * TIMEDELTA * 1.2);
    p = mat2(cos(angle), -sin(angle), sin(angle), cos(angle)) * p * closer;
    return p / vec2(aspect, 1.0) + 0.5;
}

vec3 blurred(vec2 at, vec2 stride) {
    vec3 sum = vec3(0.0);
    float weights = 0.0;
    for (int i = -TAPS; i <= TAPS; i++) {
        float x = float(i) / float(TAPS);
        float weight = exp(-4.0 * x * x);
        sum += weight * (PASSINDEX == 1 ? IMG_NORM_PIXEL(fine, at + stride * x).rgb : IMG_NORM_PIXEL(across, at + stride * x).rgb);
        weights += weight;
    }
    return sum / weights;
}

void main() {
    vec2 at = isf_FragNormCoord;
    float reach = mix(0.015, 0.16, radius * radius);
    if (PASSINDEX == 0) {
        vec2 half_texel = 0.25 / RENDERSIZE;
        vec3 sum = bright(at + half_texel) + bright(at - half_texel);
        sum += bright(at + half_texel * vec2(1.0, -1.0)) + bright(at + half_texel * vec2(-1.0, 1.0));
        gl_FragColor = vec4(sqrt(sum / 4.0), 1.0);
    } else if (PASSINDEX == 1) {
        vec3 light = blurred(at, vec2(reach * RENDERSIZE.y / RENDERSIZE.x, 0.0));
        gl_FragColor = vec4(light * light, 1.0);
    } else if (PASSINDEX == 2) {
        vec3 light = blurred(at, vec2(0.0, reach));
        float keep = linger > 0.0 && FRAMEINDEX > 0 ? exp(-TIMEDELTA / linger) : 0.0;
        vec3 old = IMG_NORM_PIXEL(glow, former(at)).rgb * keep;
        gl_FragColor = vec4(max(light, old), 1.0);
    } else if (PASSINDEX == 3) {
        vec3 added = IMG_NORM_PIXEL(glow, at).rgb * tint.rgb * amount * 1.6;
        gl_FragColor = vec4(sqrt(1.0 - exp(-added)), 1.0);
    } else {
        vec4 seen = IMG_NORM_PIXEL(inputImage, at);
        vec3 added = IMG_NORM_PIXEL(shown, at).rgb;
        gl_FragColor = vec4(sqrt(1.0 - (1.0 - seen.rgb * seen.rgb) * (1.0 - added * added)), seen.a);
    }
}
